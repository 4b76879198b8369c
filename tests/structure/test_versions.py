"""A version that is too old is told so in one sentence, and the stated range is one range."""

import importlib
import re
import sys
import tomllib
from pathlib import Path

import pytest
import transformers

import planned_diffusion
from planned_diffusion import configuration_planned_diffusion
from planned_diffusion import versions_planned_diffusion as versions

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    ("name", "found"),
    [("torch", "2.10.1+cu130"), ("torch", "1.99"), ("transformers", "4.57.6"), ("transformers", "5.16.1")],
)
def test_a_library_that_is_too_old(name, found, monkeypatch):
    """At whatever is imported first: the installed package's attributes, or the module that a checkpoint carries."""
    monkeypatch.setattr(importlib.import_module(name), "__version__", found)
    least = ".".join(map(str, versions.LEAST[name]))
    says = f"^This is {name} {re.escape(found)}, and planned-diffusion needs {least} or newer; run pip install '{name}"
    with pytest.raises(RuntimeError, match=says):
        planned_diffusion.Plan  # noqa: B018
    with pytest.raises(RuntimeError, match=says):
        importlib.reload(configuration_planned_diffusion)


def test_a_library_that_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(RuntimeError, match="^torch is not installed; run pip install 'torch>=2.11'"):
        versions.check_versions()


def test_a_python_that_is_too_old(monkeypatch):
    monkeypatch.setattr(sys, "version_info", (3, 10, 14, "final", 0))
    with pytest.raises(RuntimeError, match="^This is Python 3.10.14, .* needs 3.11 or newer; use Python 3.11 or newer"):
        versions.check_versions()


@pytest.mark.parametrize("found", ["5.17.0", "5.17.0.dev0", "5.100.1", "6.0.0a1+local"])
def test_versions_that_are_new_enough(found, monkeypatch):
    monkeypatch.setattr(transformers, "__version__", found)
    assert versions.check_versions() is None  # and nothing raised


def test_the_range_is_that_of_the_package():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    listed = "\n".join(project["dependencies"])
    stated = {name: re.findall(rf"^{name}>=([0-9.]+)", listed, re.M) for name in ("torch", "transformers")}
    stated["Python"] = [project["requires-python"].removeprefix(">=")]
    assert stated == {name: [".".join(map(str, least))] for name, least in versions.LEAST.items()}
