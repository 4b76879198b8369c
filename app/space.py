"""Write the folder of a Space of the Hub: app.py, a README with the Space's header, requirements, and this package.

my-space/
  README.md            the header: sdk, app_file, models
  app.py               shows the page on the address that a Space has
  requirements.txt     what the package needs; the Space brings Gradio itself
  planned_diffusion/   the package, with the included checkpoint that the page shows
  checkpoint/          the checkpoint, where it is another folder of this machine
"""

import shutil
from importlib.metadata import version
from pathlib import Path

from ..loading.bases import base_named
from ..loading.embedded import CHECKPOINTS
from ..loading.locate import chosen_model

PACKAGE = Path(__file__).resolve().parents[1]
# As in pyproject.toml, which a package does not carry along: the package, its server, and what base models take.
NEEDED = (
    "torch>=2.11", "transformers>=5.17,<6", "huggingface-hub", "numpy", "safetensors", "typer", "rich", "fastapi",
    "uvicorn", "prometheus-client",
)  # fmt: skip
NEEDED_BY_BASES = ("gguf>=0.17", "peft")
NOT_COPIED = shutil.ignore_patterns("__pycache__", "*.pyc", ".*")
HEADER = """---
title: Planned diffusion
colorFrom: gray
colorTo: indigo
sdk: gradio
sdk_version: {gradio}
python_version: "3.11"
app_file: app.py
license: apache-2.0
{models}---

An outline first, then all its parts at once: ask, watch, edit the outline, race it against left to right.
`planned-diffusion app --space` wrote this folder.
"""
APP = '''"""The Space's app: the page of planned-diffusion, open to everybody who comes."""

import sys
from pathlib import Path

from planned_diffusion.cli.main import main

HERE = Path(__file__).resolve().parent

sys.exit(main(["app", {model}, "--host", "0.0.0.0", "--port", "7860", "--public"]))
'''


def write_space(folder: Path, model: str | None) -> None:
    """Write the folder of a Space that shows a model.

    Args:
        folder: a new or empty one.
        model: as --model; None for the included one.

    Raises:
        ValueError: the folder holds something, or there is no such model.
    """
    folder = folder.expanduser().resolve()
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ValueError(f"{folder} is no empty folder; give --space a new one.")
    base = base_named(model) if model else None
    source = Path(base.name if base else chosen_model(model)).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    _copy_package(folder / "planned_diffusion", source)
    argument, repository = (repr(base.name), base.repository) if base else _named(folder, model, source)
    models = f"models:\n- {repository}\n" if repository else ""
    (folder / "README.md").write_text(HEADER.format(gradio=version("gradio"), models=models), encoding="utf-8")
    (folder / "app.py").write_text(APP.format(model=argument), encoding="utf-8")
    is_adapter = (source / "adapter_config.json").is_file()
    needed = (*NEEDED, *(NEEDED_BY_BASES if base or is_adapter else ()))
    (folder / "requirements.txt").write_text("".join(f"{one}\n" for one in needed), encoding="utf-8")


def _named(folder: Path, model: str | None, source: Path) -> tuple[str, str | None]:
    """Return the model as app.py names it, in Python, and its repository on the Hub; other folders are copied."""
    if source.is_relative_to(CHECKPOINTS):
        return repr(source.name), None
    if source.is_dir():  # of this machine
        shutil.copytree(source, folder / "checkpoint", ignore=NOT_COPIED)
        return 'str(HERE / "checkpoint")', None
    return repr(str(model)), str(model)


def _copy_package(target: Path, source: Path) -> None:
    """Copy the code of the package, and the included checkpoint that is shown."""
    target.mkdir()
    for file in (*PACKAGE.glob("*.py"), PACKAGE / "py.typed"):
        if file.name != "setup.py":
            shutil.copy(file, target / file.name)
    for inner in PACKAGE.glob("*/__init__.py"):
        shutil.copytree(inner.parent, target / inner.parent.name, ignore=NOT_COPIED)
    for included in CHECKPOINTS.iterdir():
        if included == source:
            shutil.copytree(included, target / "checkpoints" / included.name, ignore=NOT_COPIED)
