"""Read recipes and command lines into dataclasses; an error of TRL's parser becomes one sentence, not a traceback."""

import re
import sys
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, cast, get_args, get_origin

import yaml
from trl.scripts.utils import TrlParser

from .recipe_types import check_recipe, expectation, is_json

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


class _Parser(TrlParser):
    """TRL's parser, whose errors are a sentence instead of a usage of 400 lines."""

    def error(self, message: str) -> NoReturn:
        """Raise ValueError with what argparse says, and what the field takes."""
        option = re.match(r"argument --(\w+)\S*: (.*)", message)
        if option is None:
            raise ValueError(f"{message}; planned-diffusion train --help lists all fields.")
        takes = expectation(option[1], cast(Any, self.dataclass_types))
        raise ValueError(f"--{option[1]}: {option[2].rstrip('. ')}; give {takes}.")


def parse_arguments(kinds: "Sequence[type[DataclassInstance]]", argv: Sequence[str] | None = None) -> tuple[Any, ...]:
    """Return one instance per dataclass of `kinds`, from `--config` and the other arguments, which win.

    Raises:
        ValueError: no such recipe, no mapping in it, an unknown field, or a value that its field cannot take.
    """
    argv = sys.argv[1:] if argv is None else list(argv)
    if "--config" in argv:
        following = argv[argv.index("--config") + 1 :]
        if not following or following[0].startswith("--"):
            raise ValueError("--config has no value; give it the name of a recipe, a YAML file.")
        check_recipe(following[0], read_fields(following[0]), kinds)
    broken = [argument for argument in argv if argument.startswith("{") and not is_json(argument)]
    if broken:
        raise ValueError(f'{broken[0]} is no JSON; give a mapping such as \'{{"dtype": "bfloat16"}}\'.')
    given = _Parser(cast(Any, kinds), allow_abbrev=False).parse_args_and_config(argv)
    for instance in given:
        _convert_lists(instance)
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


def _convert_lists(instance: "DataclassInstance") -> None:
    """Convert the lists of a parsed dataclass: a recipe's values arrive unconverted, 1e-3 as a string.

    One text without a list is a list of it.
    """
    for field in fields(instance):
        values = getattr(instance, field.name)
        if field.type == list[str] and isinstance(values, str):
            object.__setattr__(instance, field.name, [values])
        if get_origin(field.type) is not list or get_args(field.type)[0] not in (int, float):
            continue
        number = get_args(field.type)[0]
        try:
            if not isinstance(values, list):
                raise ValueError
            converted = [number(str(value)) for value in values]
        except ValueError:
            word = "integers" if number is int else "numbers"
            raise ValueError(f"{field.name} is {values!r}; give a list of {word}.") from None
        object.__setattr__(instance, field.name, converted)  # the instance may be frozen, and is ours: just parsed
