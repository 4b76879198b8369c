"""The folder of a Space: its header, its files, and an app.py that shows the page from that folder alone."""

import os
import shutil
import socket
import subprocess
import sys
import time
import tomllib
import urllib.request
from importlib.metadata import version
from pathlib import Path

import pytest
import yaml

pytest.importorskip("gradio", reason="the page needs Gradio")
from planned_diffusion.app.space import NEEDED, NEEDED_BY_BASES, write_space
from planned_diffusion.cli.main import main
from planned_diffusion.loading.embedded import EMBEDDED

ROOT = Path(__file__).resolve().parents[2]


def header(folder: Path) -> dict:
    return yaml.safe_load((folder / "README.md").read_text().split("---\n")[1])


def test_the_header_is_that_of_a_space(tmp_path):
    assert main(["app", "--space", str(tmp_path / "space")]) == 0
    folder = tmp_path / "space"
    assert sorted(path.name for path in folder.iterdir()) == [
        "README.md",
        "app.py",
        "planned_diffusion",
        "requirements.txt",
    ]
    told = header(folder)
    assert told["sdk"] == "gradio" and told["app_file"] == "app.py" and told["sdk_version"] == version("gradio")
    assert {"title", "colorFrom", "colorTo", "license"} <= told.keys() and "models" not in told
    assert [path.name for path in (folder / "planned_diffusion" / "checkpoints").iterdir()] == ["facts"]
    assert (folder / "requirements.txt").read_text().split() == list(NEEDED)


def test_requirements_are_those_of_the_package():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    assert sorted(NEEDED) == sorted([*project["dependencies"], *extras["serve"]])
    assert sorted(NEEDED_BY_BASES) == sorted(extras["smollm2"])


def test_models_of_the_hub_and_of_this_machine(tmp_path):
    write_space(tmp_path / "hub", "owner/planner")
    assert header(tmp_path / "hub")["models"] == ["owner/planner"]
    assert "'owner/planner'" in (tmp_path / "hub" / "app.py").read_text()
    mine = shutil.copytree(EMBEDDED, tmp_path / "mine", ignore=shutil.ignore_patterns("*.py", "__pycache__"))
    write_space(tmp_path / "local", str(mine))
    assert (tmp_path / "local" / "checkpoint" / "config.json").is_file()
    assert str(tmp_path) not in (tmp_path / "local" / "app.py").read_text()
    write_space(tmp_path / "base", "smollm2")
    assert header(tmp_path / "base")["models"] == ["HuggingFaceTB/SmolLM2-135M-Instruct"]
    assert (tmp_path / "base" / "requirements.txt").read_text().split() == [*NEEDED, *NEEDED_BY_BASES]


def test_what_cannot_be_written_is_refused(tmp_path, capsys):
    (tmp_path / "mine").write_text("keep")
    assert main(["app", "--space", str(tmp_path)]) == 2
    assert "is no empty folder; give --space a new one." in capsys.readouterr().err
    assert main(["app", "no/such/folder", "--space", str(tmp_path / "space")]) == 2
    assert not (tmp_path / "space").exists()


@pytest.mark.slow
def test_the_space_shows_its_page(tmp_path):
    """With nothing else on the path: what `python app.py` does in a Space, on a port that is free here."""
    write_space(tmp_path, None)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    app = tmp_path / "app.py"
    app.write_text(app.read_text().replace('"0.0.0.0"', '"127.0.0.1"').replace('"7860"', f'"{port}"'))
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    shown = subprocess.Popen([sys.executable, "app.py"], cwd=tmp_path, env=environment)
    try:
        end = time.monotonic() + 120
        while time.monotonic() < end and shown.poll() is None:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/") as page:
                    assert "Planned diffusion" in page.read().decode()
                    return
            except OSError:
                time.sleep(0.3)
        raise AssertionError("the page did not come")
    finally:
        shown.terminate()
        assert shown.wait(30) in (0, -15)


def test_a_model_is_named_with_or_without_its_option(tmp_path, capsys):
    for number, named in enumerate((["smollm2"], ["--model", "smollm2"], ["smollm2", "--model", "smollm2"])):
        assert main(["app", *named, "--space", str(tmp_path / str(number))]) == 0
    written = [(tmp_path / str(number) / "app.py").read_text() for number in range(3)]
    assert "'smollm2'" in written[0] and written[0] == written[1] == written[2]
    assert main(["app", "smollm2", "--model", "facts", "--space", str(tmp_path / "other")]) == 2
    assert "There are two models, smollm2 and --model facts; give one." in capsys.readouterr().err
    assert not (tmp_path / "other").exists()
