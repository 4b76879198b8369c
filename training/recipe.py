"""Read recipes and command lines into dataclasses; an error of TRL's parser becomes one sentence, not a traceback."""

import sys
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast, get_args, get_origin

import yaml
from trl.scripts.utils import TrlParser

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


def parse_arguments(kinds: Sequence[type], argv: Sequence[str] | None = None) -> tuple[Any, ...]:
    """Return one instance per dataclass of `kinds`, from `--config` and the other arguments, which win.

    Raises:
        ValueError: no such recipe, no mapping in it, an unknown field, or a field that needs a list and has none.
    """
    argv = sys.argv[1:] if argv is None else list(argv)
    if "--config" in argv:
        following = argv[argv.index("--config") + 1 :]
        if not following or following[0].startswith("--"):
            raise ValueError("--config has no value; give it the name of a recipe, a YAML file.")
        read_fields(following[0])
    given = TrlParser(cast(Any, kinds), allow_abbrev=False).parse_args_and_config(argv)
    for instance in given:
        _convert_numbers(instance)
    return given


def read_fields(path: str) -> dict[str, Any]:
    """Return the mapping in a YAML or JSON file.

    Raises:
        ValueError: no such file, broken YAML, or no mapping in it.
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


def _convert_numbers(instance: "DataclassInstance") -> None:
    """Convert the number lists of a parsed dataclass: a recipe's values arrive unconverted, 1e-3 as a string."""
    for field in fields(instance):
        if get_origin(field.type) is not list or get_args(field.type)[0] not in (int, float):
            continue
        values, number = getattr(instance, field.name), get_args(field.type)[0]
        try:
            if not isinstance(values, list):
                raise ValueError
            converted = [number(str(value)) for value in values]
        except ValueError:
            word = "integers" if number is int else "numbers"
            raise ValueError(f"{field.name} is {values!r}; give a list of {word}.") from None
        object.__setattr__(instance, field.name, converted)  # the instance may be frozen, and is ours: just parsed
