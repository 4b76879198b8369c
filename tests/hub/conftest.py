"""Checkpoints small enough to export often, and the embedded one, whose answers are known."""

import importlib.metadata
import json
import os
import shutil
import subprocess
import sys
import warnings
from pathlib import Path

import huggingface_hub
import huggingface_hub.hf_api
import pytest
import torch
from packaging.requirements import Requirement

from planned_diffusion.hub.flat import refresh
from planned_diffusion.modeling_planned_diffusion import PlannedDiffusionForCausalLM

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(Path(__file__).parent))

import loopback  # noqa: E402 - a module beside this file; tests are no package


@pytest.fixture(scope="session")
def embedded() -> Path:
    """The embedded checkpoint, with the code that `make test` writes beside it."""
    folder = ROOT / "checkpoints" / "facts"
    refresh(folder)
    return folder


@pytest.fixture
def tiny(build_model, byte_tokenizer, tmp_path) -> Path:
    """A saved random checkpoint with its tokenizer, and neither chat template nor decoding defaults."""
    folder = tmp_path / "tiny"
    build_model("qwen3").save_pretrained(folder)
    byte_tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def adapter(embedded, tmp_path_factory) -> Path:
    """A LoRA adapter on the embedded model that changes its answers; saved as peft saves it."""
    peft = pytest.importorskip("peft", reason="LoRA adapters need peft")
    folder = tmp_path_factory.mktemp("adapter")
    model = PlannedDiffusionForCausalLM.from_pretrained(embedded, dtype="auto")
    torch.manual_seed(0)
    settings = peft.LoraConfig(
        r=2, lora_alpha=64, target_modules=["q_proj"], init_lora_weights=False, task_type="CAUSAL_LM"
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # peft asks transformers by a name that will go
        peft.get_peft_model(model, settings).save_pretrained(folder)
    return folder


@pytest.fixture
def own_adapter(adapter, embedded, tmp_path) -> Path:
    """A copy of the adapter with its tokenizer, as training saves it."""
    folder = shutil.copytree(adapter, tmp_path / "own_adapter")
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        shutil.copy(embedded / name, folder)
    return folder


# The Hub


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    """A Hub of this module's own, for this process, its children and `stranger`s."""
    server = loopback.LoopbackHub()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(huggingface_hub.constants, "ENDPOINT", server.endpoint)
        patch.setattr(huggingface_hub.hf_api.api, "endpoint", server.endpoint)  # made when the library was imported
        template = server.endpoint + "/{repo_id}/resolve/{revision}/{filename}"
        patch.setattr(huggingface_hub.constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        patch.setattr(huggingface_hub.constants, "HF_HUB_DISABLE_XET", True)
        patch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
        home = tmp_path_factory.mktemp("cache")
        patch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(home / "hub"))  # the user's has other files
        environment = {"HF_ENDPOINT": server.endpoint, "HF_HUB_DISABLE_XET": "1", "HF_TOKEN": loopback.TOKEN}
        for name, value in {**environment, "HF_HOME": str(home)}.items():
            patch.setenv(name, value)
        yield server
    server.close()


# Other interpreters


def required(*names: str) -> set[str]:
    """These distributions and all that they require, without extras."""
    found, wanted = set(), list(names)
    while wanted:
        name = wanted.pop().lower().replace("_", "-")
        if name in found:
            continue
        try:
            requirements = importlib.metadata.requires(name) or []
        except importlib.metadata.PackageNotFoundError:
            continue
        found.add(name)
        parsed = map(Requirement, requirements)
        wanted += [one.name for one in parsed if one.marker is None or one.marker.evaluate({"extra": ""})]
    return found


@pytest.fixture(scope="session")
def bare(tmp_path_factory) -> Path:
    """A folder of packages that holds torch, transformers, tokenizers and what they need, and nothing else."""
    folder = tmp_path_factory.mktemp("bare")
    for name in required("torch", "transformers", "tokenizers"):
        distribution = importlib.metadata.distribution(name)
        for top in {file.parts[0] for file in distribution.files if file.parts[0] != ".."}:
            if not (folder / top).exists():
                (folder / top).symlink_to(distribution.locate_file(top))
    return folder


# Starts once, imports what takes longest and knows nothing of any environment; then forks once per script.
INTERPRETER = """
import json, os, sys
import torch, torch._dynamo, torch.distributed.fsdp, torch.distributed.tensor
for line in sys.stdin:
    asked = json.loads(line)
    child = os.fork()
    if child == 0:
        os.environ.clear()
        os.environ.update(asked["environment"])
        for number, name in enumerate(("in", "out", "errors")):
            os.dup2(os.open(asked[name], os.O_RDONLY if number == 0 else os.O_WRONLY), number)
        sys.stdin, sys.stdout, sys.stderr = os.fdopen(0), os.fdopen(1, "w"), os.fdopen(2, "w")
        exec(compile(asked["script"], "<script>", "exec"), {"__name__": "__main__"})
        sys.exit()
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


class Interpreters:
    """Interpreters without this package, one by folder of packages; each script runs in a fork of its own."""

    def __init__(self):
        self._started: dict[Path | None, subprocess.Popen] = {}

    def run(self, script: str, packages: Path | None, environment: dict[str, str], folder: Path) -> str:
        """Return what the script printed; what it writes lands in the files of `folder`."""
        files = {name: folder / name for name in ("in", "out", "errors")}
        for file in files.values():
            file.touch()
        asked = {"script": script, "environment": environment, **{name: str(file) for name, file in files.items()}}
        interpreter = self._started.get(packages) or self._start(packages, environment)
        print(json.dumps(asked), file=interpreter.stdin, flush=True)
        status = interpreter.stdout.readline().strip()
        assert status == "0", files["errors"].read_text()
        return files["out"].read_text()

    def close(self) -> None:
        """End them all."""
        for interpreter in self._started.values():
            interpreter.communicate()

    def _start(self, packages: Path | None, environment: dict[str, str]) -> subprocess.Popen:
        flags = ["-I"] if packages is None else ["-I", "-S"]
        head = "" if packages is None else f"import sys; sys.path.append({str(packages)!r})\n"
        command = [sys.executable, *flags, "-c", head + INTERPRETER]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        self._started[packages] = subprocess.Popen(command, env=environment, **pipes)
        return self._started[packages]


@pytest.fixture(scope="session")
def interpreters():
    """The interpreters that `stranger` runs its scripts in."""
    running = Interpreters()
    yield running
    running.close()


@pytest.fixture
def stranger(interpreters, tmp_path_factory):
    """stranger(script, packages=folder or None, **environment) runs a script in an interpreter without this package.

    Only the given folder of packages is importable, or those installed here where it is None. Returns what was printed.
    """

    def run(script: str, packages: Path | None = None, **environment: str) -> str:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "PYTHON"))}
        home = {"HF_HOME": str(tmp_path_factory.mktemp("home")), "HF_HUB_DISABLE_XET": "1", "OMP_NUM_THREADS": "1"}
        return interpreters.run(script, packages, {**kept, **home, **environment}, tmp_path_factory.mktemp("stranger"))

    return run
