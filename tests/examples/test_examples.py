"""Every example runs as its docstring says, on the included model, in this process (importing torch takes longest)."""

import ast
import runpy
from pathlib import Path

import pytest

from planned_diffusion.generation.decoders.table import DECODERS

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
# Name -> texts that the example prints.
SAID = {
    "generate": ["Nairobi", "Kenyan shilling", "Swahili", "round 1, capital, ", "forwards ("],
    "stream": ["final: 'Which currency", "draft: ", " . .", "Kenyan", "end"],
    "own_plan": ["language: The main language", "calling code:", "0 forwards to plan"],
    "fill_a_form": ["capital: The capital city of Kenya, as any atlas will show, is Nairobi.", "shilling."],
    "fill_a_schema": [
        'frame: {"capital": "___", "large": ___, "side": ___, "people": ___}',
        "object: {",
        "for 4 values",
    ],
    "compare_decoders": [
        *(f"{name}: " for name in DECODERS),
        "as any atlas will show, is Lima. ",
    ],
    "new_decoder": ["planned, ", "surest_first, "],  # run by a test of its own
    "batch_of_prompts": ["Tokyo", "Kathmandu", "the same answers one by one: True"],
    "inspect_trace": ["round 1, step 1", "round 2, step ", "confidence 0.", "1 commits"],
    "finetune_lora": ["<promise>-<topic>", "loss"],
    "load_anywhere": ["model.safetensors", "Nairobi", "classes from: transformers_modules", "imported: False"],
}


@pytest.fixture(autouse=True)
def nothing_stays(monkeypatch):
    """Forget the decoder that an example adds, and the arguments that a command of it leaves behind."""
    monkeypatch.setattr("sys.argv", ["example"])
    before = dict(DECODERS)
    yield
    DECODERS.clear()
    DECODERS.update(before)


def test_every_example_has_a_test():
    assert {path.stem for path in EXAMPLES.glob("*.py")} == set(SAID)


@pytest.mark.parametrize("name", SAID)
def test_an_example_says_what_one_sees(name):
    docstring = ast.get_docstring(ast.parse((EXAMPLES / f"{name}.py").read_text(encoding="utf-8")))
    assert docstring is not None and "\nOne sees" in docstring


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("name", sorted(set(SAID) - {"new_decoder"}))
def test_an_example_runs(name, capfd):
    runpy.run_path(str(EXAMPLES / f"{name}.py"), run_name="__main__")
    printed = capfd.readouterr().out
    for text in SAID[name]:
        assert text in printed


def test_the_new_decoder_answers_like_planned_in_more_forwards(capfd):
    runpy.run_path(str(EXAMPLES / "new_decoder.py"), run_name="__main__")
    planned, mine = capfd.readouterr().out.splitlines()
    assert planned.split(": ", 1)[1] == mine.split(": ", 1)[1]
    assert int(mine.split()[1]) > int(planned.split()[1])
