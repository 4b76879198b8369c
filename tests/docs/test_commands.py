"""Every command line of this package in README, docs, docstrings and recipes is one that its own parser takes."""

import argparse
import importlib
import os
from collections.abc import Callable
from functools import wraps
from importlib.util import find_spec
from pathlib import Path
from unittest.mock import patch

import pytest
import typer
from written_commands import NAMES, ROOT, Words, found_commands, in_lines, in_markdown

from planned_diffusion.cli import main as command_line
from planned_diffusion.cli.field_options import given_fields
from planned_diffusion.generation.fields import FIELDS, SHARED_FIELDS

RECIPE = ROOT / "training" / "recipes" / "smoke.yaml"  # stands for recipes that readers write themselves
FOUND = found_commands()
LIBRARIES = pytest.mark.filterwarnings("ignore")  # of libraries, about recipes for other machines


# Parsing them


def only_parsed(command: Callable) -> Callable:
    """Return a command with the same signature that checks the fields of `generate`, and does nothing else."""

    @wraps(command)
    def check(context: typer.Context | None = None, **given: object) -> None:
        known = (FIELDS | SHARED_FIELDS).keys()
        options = {name: value for name, value in given.items() if name in known or name == "others"}
        unknown = given_fields(options).keys() - known
        if unknown:
            raise ValueError(f"there are no fields {', '.join(unknown)}")
        if context is not None:
            {"train": parse_train}[command.__name__](context.args)

    return check


def parse_train(arguments: list[str]) -> None:
    """Parse arguments of the training script; a recipe that the reader is to write is another one here."""
    pytest.importorskip("trl", reason="training needs TRL")
    from planned_diffusion.training import sft

    if "--help" in arguments:
        return
    place = arguments.index("--config") + 1 if "--config" in arguments else 0
    if place and not (ROOT / arguments[place]).is_file():
        assert "/" not in arguments[place], f"there is no recipe {arguments[place]}"
        arguments = [*arguments[:place], str(RECIPE), *arguments[place + 1 :]]
    kinds = (sft.ScriptArguments, sft.ObjectiveFields, sft.SFTConfig, sft.AdapterArguments)
    sft.parse_arguments(kinds, [*arguments, "--use_cpu", "true"])  # recipes for GPUs are parsed on any machine


def module_fault(name: str, arguments: list[str]) -> str:
    """Return what is wrong with the arguments of a module that is run by `python -m`; "" for nothing."""
    parse = argparse.ArgumentParser.parse_args
    found = find_spec(name)
    if found and found.submodule_search_locations is not None:
        name = f"{name}.__main__"  # what -m runs of a package

    def only_parse(self: argparse.ArgumentParser, given: list[str]) -> None:
        parse(self, given)
        raise EOFError

    try:
        with patch.object(argparse.ArgumentParser, "parse_args", only_parse):
            module = importlib.import_module(name)
            if name.endswith(".sft"):
                parse_train(arguments)
            elif "argparse" in vars(module):
                module.main(arguments)
    except EOFError:
        return ""
    except (ImportError, ValueError, SystemExit) as error:
        return f"{name} refuses its arguments: {error}"
    return "" if callable(module.main) else f"{name} cannot be run"


@pytest.fixture
def parsed(monkeypatch, capsys):
    """parsed(words) gives the command line these words, with commands that do nothing: exit status and error."""
    monkeypatch.setattr("typer.completion.install", lambda *_, **__: ("bash", Path()))
    monkeypatch.chdir(ROOT)
    checked = {command: only_parsed(command) for command in command_line.COMMANDS}
    monkeypatch.setattr(command_line, "FORWARDING", tuple(checked[command] for command in command_line.FORWARDING))
    monkeypatch.setattr(command_line, "COMMANDS", tuple(checked.values()))

    def run(words: Words) -> tuple[int, str]:
        with patch.dict(os.environ):
            try:
                status = command_line.main(list(words))
            except SystemExit as end:
                status = int(end.code or 0)
        return status, capsys.readouterr().err

    return run


@pytest.fixture
def fault(parsed):
    """fault(words, named) says what is wrong with a command, "" for nothing; one in a sentence may be only named."""

    def find(words: Words, named: bool) -> str:
        name, *arguments = words
        if named and not arguments and not name.startswith("-"):
            return "" if name in NAMES or ("." in name and find_spec(name)) else f"there is no {name}"
        if "." in name:
            return module_fault(name, arguments)
        status, error = parsed(words)
        only_options = named and name in NAMES and f"Missing argument '{first_argument(name)}'" in error
        return "" if status == 0 or only_options else error

    return find


def first_argument(name: str) -> str:
    """Return the name of a command's first argument, as its help shows it."""
    command = typer.main.get_command(command_line.build_app()).commands[name]  # type: ignore[attr-defined]
    return next((str(one.metavar or one.name) for one in command.params if one.param_type_name == "argument"), "")


@LIBRARIES
@pytest.mark.parametrize(("file", "words", "named"), FOUND, ids=[f"{file}: {' '.join(w)}" for file, w, _ in FOUND])
def test_every_command_is_parsed(file, words, named, fault):
    assert not fault(words, named), f"in {file}"


# The test itself


def test_commands_are_found_where_they_stand():
    files = {file for file, _, _ in FOUND}
    assert {"README.md", "docs/usage.md", "docs/training.md", "training/sft.py"} <= files
    assert "training/recipes/elements.yaml" in files
    page = """
Give `planned-diffusion push` and `planned-diffusion batch --json`.

| a |
| --- |
| `planned-diffusion x` |

1. Say

   ```bash
   $ planned-diffusion export a \\
       'b c'  # note
   cat x | planned-diffusion generate > y
   planned-diffusion export a b && planned-diffusion push b me/b
   ```

Then

    torchrun -m planned_diffusion.training.sft --config a
    python -m planned_diffusion generate x

```python
'planned-diffusion no'
```
"""
    assert list(in_markdown(page)) == [
        (("push",), True),
        (("batch", "--json"), True),
        (("x",), True),
        (("export", "a", "b c"), False),
        (("generate",), False),
        (("export", "a", "b"), False),
        (("push", "b", "me/b"), False),
        (("planned_diffusion.training.sft", "--config", "a"), False),
        (("generate", "x"), False),
    ]
    assert list(in_lines("The `planned-diffusion a b`:\n    planned-diffusion c d\nby planned-diffusion e\n")) == [
        (("c", "d"), False),
        (("a", "b"), True),
    ]


WRONG = {
    ("export", "a"): False,
    ("export", "a", "b", "c"): False,
    ("generate", "a", "--no-such-option"): False,
    ("generate", "a", "--dtype", "int3"): False,
    ("generate", "a", "--set", "no_such_field=1"): False,
    ("batch", "--json"): False,
    ("batch", "--json", "--nothing"): True,
    ("push", "a"): True,
    ("train", "--no_such_field", "1"): False,
    ("train", "--config"): False,
    ("serve", "--no-such-option"): False,
    ("planned_diffusion.training.sft", "--no_such_field", "1"): False,
    ("planned_diffusion.evaluation.elements", "paint", "x"): False,
    ("planned_diffusion.evaluation.nothing", "x"): False,
    ("nothing",): True,
    ("nothing", "x"): False,
    ("--nothing",): True,
}


@LIBRARIES
@pytest.mark.parametrize(("words", "named"), WRONG.items(), ids=map(" ".join, WRONG))
def test_wrong_commands_are_faults(words, named, fault):
    assert fault(words, named)
