"""From a recipe and the command line to arguments; what TRL's parser would answer with a traceback, in a sentence."""

import sys
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import get_args, get_origin

import yaml
from trl import TrlParser


def arguments(kinds: Sequence[type], argv: list[str] | None = None) -> tuple:
    """One instance per dataclass of `kinds`, from `--config` and the other arguments, which win.

    Raises:
        ValueError: no such recipe, no mapping in it, an unknown field, or a list field that is none.
    """
    argv = sys.argv[1:] if argv is None else argv
    if "--config" in argv:
        following = argv[argv.index("--config") + 1 :]
        if not following or following[0].startswith("--"):
            raise ValueError("--config has no value; give it the name of a recipe, a YAML file.")
        settings(following[0])
    given = TrlParser(kinds, allow_abbrev=False).parse_args_and_config(argv)
    for instance, kind in zip(given, kinds, strict=True):
        _check_lists(instance, kind)
    return given


def settings(path: str) -> dict:
    """The mapping in a YAML or JSON file.

    Raises:
        ValueError: no such file, broken YAML, or something else in it.
    """
    if not Path(path).is_file():
        raise ValueError(f"There is no file {path}; name a YAML file of fields and values.")
    try:
        found = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is no YAML ({' '.join(str(error).split())}); mend it there.") from error
    if not isinstance(found, dict):
        raise ValueError(f"{path} holds no mapping; write one 'field: value' per line.")
    return found


def _check_lists(instance, kind: type):
    """Values of a recipe reach list fields as YAML read them; numbers written like 1e-3 are strings there."""
    for field in fields(kind):
        if get_origin(field.type) is not list or get_args(field.type)[0] not in (int, float):
            continue
        values, number = getattr(instance, field.name), get_args(field.type)[0]
        try:
            if not isinstance(values, list):
                raise ValueError
            setattr(instance, field.name, [number(str(value)) for value in values])
        except ValueError:
            word = "integers" if number is int else "numbers"
            raise ValueError(f"{field.name} is {values!r}; give a list of {word}.") from None
