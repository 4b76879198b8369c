"""The included checkpoint in a clone: its code is generated, and where it is missing the error says how to write it."""

import json
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from planned_diffusion.hub.flat import STARTER, flat_code, is_flat_code

ROOT = Path(__file__).resolve().parents[2]
QUESTION = "What is the capital of Kenya?"
PROGRAM = """
import json
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer
def load(folder):
    model = AutoModelForCausalLM.from_pretrained(folder, trust_remote_code=True)
    return model, AutoTokenizer.from_pretrained(folder, trust_remote_code=True)
def answer(model, tokenizer):
    inputs = tokenizer({question!r}, return_tensors="pt")
    return tokenizer.decode(model.generate(**inputs)[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
folder = {folder!r}
"""


@pytest.fixture
def clone(embedded, tmp_path) -> Path:
    """The included checkpoint as it is committed: without its code."""
    folder = tmp_path / "clone" / "checkpoints" / "facts"
    shutil.copytree(embedded, folder, ignore=lambda _, names: [name for name in names if is_flat_code(name)])
    assert [file.name for file in folder.glob("*.py")] == [f"{STARTER}.py"]
    return folder


@pytest.mark.slow
def test_without_its_code_the_error_names_the_command(clone, bare, stranger):
    printed = stranger(
        PROGRAM.format(question=QUESTION, folder=str(clone))
        + """
said = []
for loader in (AutoConfig, AutoModelForCausalLM):
    try:
        loader.from_pretrained(folder, trust_remote_code=True)
    except OSError as error:
        said.append(str(error))
print(json.dumps(said))
""",
        bare,
        HF_HUB_OFFLINE="1",
    )
    remedy = f"run make demo in the repository, or python hub/flat.py {clone}"
    says = f"{clone} lacks the model's code, which is generated and not committed; {remedy}"
    assert json.loads(printed) == [says] * 2


@pytest.mark.slow
def test_with_its_code_it_loads_and_what_is_saved_loads_again(clone, bare, stranger):
    """The command of the error writes the code; checkpoints saved from there are like all others."""
    subprocess.run([sys.executable, str(ROOT / "hub" / "flat.py"), str(clone)], check=True)
    saved = clone.parent / "saved"
    printed = stranger(
        PROGRAM.format(question=QUESTION, folder=str(clone))
        + f"""
model, tokenizer = load(folder)
first = answer(model, tokenizer)
model.save_pretrained({str(saved)!r}), tokenizer.save_pretrained({str(saved)!r})
print(json.dumps([first, answer(*load({str(saved)!r})), model.config.model_type]))
""",
        bare,
        HF_HUB_OFFLINE="1",
    )
    first, again, kind = json.loads(printed)
    assert "Nairobi" in first and again == first and kind == "planned_diffusion"
    auto_map = json.loads((saved / "config.json").read_text())["auto_map"]
    assert auto_map["AutoConfig"] == "configuration_planned_diffusion.PlannedDiffusionConfig"
    assert {file.name for file in saved.glob("*.py")} == set(flat_code())


@pytest.mark.slow
def test_the_installed_package_needs_no_code(clone, stranger):
    """Imported, it serves every checkpoint of its model type, trusted or not."""
    program = "import planned_diffusion; planned_diffusion.PlannedDiffusionForCausalLM\n"
    program += PROGRAM.format(question=QUESTION, folder=str(clone))
    printed = stranger(program + "print(json.dumps(answer(*load(folder))))", HF_HUB_OFFLINE="1")
    assert "Nairobi" in json.loads(printed)


@pytest.mark.slow
def test_a_wheel_carries_the_code(embedded, tmp_path):
    """Built from a clone without generated files: setup.py writes them before the package's files are collected."""
    pytest.importorskip("setuptools", "77", reason="a wheel is built by setuptools")
    root, built = tmp_path / "clone", tmp_path / "built"
    left_out = shutil.ignore_patterns(
        ".*", "build", "runs", "tests", "docs", "*.egg-info", "__pycache__", "generation_*"
    )
    shutil.copytree(ROOT, root, ignore=left_out)
    built.mkdir()
    program = f"from setuptools import build_meta; build_meta.build_wheel({str(built)!r})"
    subprocess.run([sys.executable, "-c", program], cwd=root, capture_output=True, check=True)
    (wheel,) = built.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert {f"planned_diffusion/checkpoints/facts/{name}" for name in flat_code()} <= set(names)
    assert "planned_diffusion/checkpoints/facts/model.safetensors" in names and not any(
        "setup.py" in name for name in names
    )
