"""Check the values of a recipe against the types of its fields; a fault is a sentence with file and field."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import Field, fields
from difflib import get_close_matches
from enum import Enum
from functools import cache
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Any, Literal, Union, get_args, get_origin, get_type_hints

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

ENVIRONMENT = "env"  # TRL's own field of a recipe: environment variables
TRUTHS = ("yes", "no", "true", "false", "t", "f", "y", "n", "1", "0")  # as transformers' parser reads them
TRUE_OR_TEXT = ("resume_from_checkpoint",)  # a text that may be true or auto
SCALARS = {int: ("an integer", "integers"), float: ("a number", "numbers"), str: ("text", "texts")}

Kinds = Sequence[type["DataclassInstance"]]


hints_of = cache(get_type_hints)  # reading the annotations of a class takes milliseconds


def check_recipe(path: str, recipe: Mapping[Any, Any], kinds: Kinds) -> None:
    """Reject a recipe with a field that no dataclass of `kinds` has, or with a value that its field cannot take.

    Raises:
        ValueError: the first fault, with the field's name and what it takes.
    """
    known = {field.name: (field, hints_of(kind)[field.name]) for kind in kinds for field in fields(kind)}
    for name, value in recipe.items():
        if name == ENVIRONMENT and isinstance(value, Mapping):
            continue
        if name == ENVIRONMENT:
            raise ValueError(f"{path}: env is {value!r}; give a mapping of environment variables.")
        if name not in known:
            alike = get_close_matches(str(name), known, n=1)
            remedy = f"did you mean {alike[0]}?" if alike else "planned-diffusion train --help lists all."
            raise ValueError(f"{path}: there is no field {name}; {remedy}")
        field, kind = known[name]
        kind = kind | bool if name in TRUE_OR_TEXT else kind
        if not _fits(value, kind) and not (value is None and field.default is None):
            raise ValueError(f"{path}: {name} is {value!r}; give {expected(kind)}{_hint(value, kind)}.")
        _check_choices(path, field, value)


def expectation(name: str, kinds: Kinds) -> str:
    """Return what the field `name` takes, in words."""
    return next((expected(hints_of(kind)[name]) for kind in kinds if name in hints_of(kind)), "a value")


def _check_choices(path: str, field: Field[Any], value: object) -> None:
    """Raise ValueError where a field takes some texts only, and this is another."""
    choices = field.metadata.get("choices")
    if choices and value is not None and value not in choices:
        raise ValueError(f"{path}: {field.name} is {value!r}; give one of {', '.join(map(str, choices))}.")


def _arms(kind: Any) -> list[Any]:  # noqa: ANN401  # a type expression
    """Return the types of which a value may have any; an enumeration stands for its texts, too."""
    arms = list(get_args(kind)) if get_origin(kind) in (Union, UnionType) else [kind]
    return [arm for arm in arms if arm is not str] if any(map(_is_enumeration, arms)) else arms


def _is_enumeration(kind: object) -> bool:
    return isinstance(kind, type) and issubclass(kind, Enum)


def _fits(value: object, kind: object) -> bool:
    """Return whether a value of a recipe can be read as a type; texts are read as the command line's are."""
    takes_mapping = any(get_origin(arm) is dict for arm in _arms(kind))
    if isinstance(value, str) and value.startswith("{") and takes_mapping:
        return is_json(value)
    return any(_fits_one(value, arm) for arm in _arms(kind))


def _fits_one(value: object, kind: Any) -> bool:  # noqa: ANN401  # a type expression
    origin = get_origin(kind) or kind
    if kind is NoneType:
        return value is None
    if origin is Literal:
        return value in get_args(kind)
    if _is_enumeration(kind):
        return isinstance(value, str) and value in [member.value for member in kind]
    if origin is bool:
        return value in (0, 1) if isinstance(value, int) else str(value).lower() in TRUTHS
    if origin in (int, float):
        return not isinstance(value, bool) and isinstance(value, (origin, int, str)) and _reads_as(origin, value)
    if origin is str:
        return isinstance(value, str)
    if origin is list:
        [item] = get_args(kind) or (Any,)
        return isinstance(value, str) if item is str and not isinstance(value, list) else _are(value, item)
    if origin is dict:
        return isinstance(value, Mapping) or (isinstance(value, str) and is_json(value))
    return True


def _are(values: object, item: object) -> bool:
    """Return whether all values of a list can be read as a type."""
    return isinstance(values, list) and all(_fits(one, item) for one in values)


def is_json(text: str) -> bool:
    """Return whether a text is JSON."""
    return _reads_as(json.loads, text)


def _reads_as(read: Callable[[Any], object], value: object) -> bool:
    try:
        read(value)
    except (TypeError, ValueError):
        return False
    return True


def expected(kind: object) -> str:
    """Return what a type takes, in words: "an integer", "a list of numbers", "one of no, steps, epoch"."""
    words = [_expected_one(arm) for arm in _arms(kind) if arm is not NoneType]
    return " or ".join(dict.fromkeys(words))


def _expected_one(kind: Any) -> str:  # noqa: ANN401  # a type expression
    origin = get_origin(kind) or kind
    if origin is bool:
        return "true or false"
    if origin in SCALARS:
        return SCALARS[origin][0]
    if origin is list:
        [item] = get_args(kind) or (str,)
        return f"a list of {SCALARS.get(item, ('', 'values'))[1]}"
    if origin is dict:
        return "a mapping"
    values = get_args(kind) if origin is Literal else [member.value for member in kind] if _is_enumeration(kind) else []
    return f"one of {', '.join(map(str, values))}" if values else "another value"


def _hint(value: object, kind: object) -> str:
    """Return a remark on YAML's reading of no, where that is one of the texts that a field takes."""
    texts = [member.value for arm in _arms(kind) if _is_enumeration(arm) for member in arm]
    return " (in quotes: YAML reads no as false)" if value is False and "no" in texts else ""
