"""`python -m planned_diffusion.evaluation.harness`: lm-eval's command line, with the class and the local tasks."""

import sys
import tomllib
from importlib import import_module
from pathlib import Path

import pytest

pytest.importorskip("lm_eval.api.model", reason="lm-eval is not installed: pip install 'planned-diffusion[lm-eval]'")
from planned_diffusion.evaluation.harness.__main__ import TASKS, main


@pytest.mark.parametrize(
    ("given", "passed"),
    [
        (["--model", "planned_diffusion"], ["--model", "planned_diffusion", "--include_path", str(TASKS)]),
        (["ls", "tasks", "--include_path", "mine"], ["ls", "tasks", "--include_path", "mine"]),
        ([], []),
    ],
)
def test_arguments_go_to_lm_eval(given, passed, monkeypatch):
    import lm_eval.__main__
    from lm_eval.api.registry import get_model

    seen = []
    monkeypatch.setattr(lm_eval.__main__, "cli_evaluate", lambda: seen.append(sys.argv[1:]))
    monkeypatch.setattr(sys, "argv", ["other"])
    main(given)
    assert seen == [passed]
    assert get_model("planned_diffusion").__name__ == "PlannedDiffusionLM" and get_model("hf")


def test_the_entry_point_names_the_class():
    project = tomllib.loads((Path(__file__).resolve().parents[2] / "pyproject.toml").read_text(encoding="utf-8"))
    module, _, name = project["project"]["entry-points"]["lm_eval.models"]["planned_diffusion"].partition(":")
    assert getattr(import_module(module), name).__name__ == "PlannedDiffusionLM"


def test_without_lm_eval_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "lm_eval.__main__", None)
    with pytest.raises(RuntimeError, match=r"lm-eval needs .*; run pip install 'planned-diffusion\[lm-eval\]'"):
        main([])
