"""Read a JSON schema as the outline of a form: which values there are, of which kind, and what stands around them.

A subset of JSON Schema: objects with named properties, arrays with `maxItems`, strings (`minLength`, `maxLength`),
numbers, integers (with bounds where these leave few), booleans, null, `enum` and `const` of plain values, `$ref` into
the schema, and `anyOf` of something and null. All properties are written, required or not. Anything else is refused.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeGuard

from ..records.checks import check_utf8

DEEPEST, MOST_VALUES, MOST_CHOICES = 12, 256, 1000
LONGEST_TEXT = 256  # characters that `minLength` may ask for
SILENT = (  # keywords that say nothing about what is written
    "title", "description", "default", "examples", "$schema", "$id", "$comment", "$defs", "definitions", "deprecated",
    "readOnly", "writeOnly", "additionalProperties", "strict",
)  # fmt: skip
OF_TYPE: dict[str, tuple[str, ...]] = {
    "object": ("properties", "required"),
    "array": ("items", "minItems", "maxItems", "uniqueItems"),
    "string": ("minLength", "maxLength"),
    "integer": ("minimum", "maximum"),
    "number": (),
    "boolean": (),
    "null": (),
}


@dataclass(frozen=True)
class TextValue:
    """A string of `least` to `most` characters."""

    least: int
    most: int
    nullable: bool


@dataclass(frozen=True)
class NumberValue:
    """A number."""

    whole: bool
    nullable: bool


@dataclass(frozen=True)
class ChoiceValue:
    """One of a few plain values."""

    choices: tuple[Any, ...]


@dataclass(frozen=True)
class ObjectForm:
    """An object with all its properties, in order."""

    properties: tuple[tuple[str, "Outline"], ...]


@dataclass(frozen=True)
class ArrayForm:
    """An array of `most` items; those behind the first `least` may be left out, if they are plain values."""

    item: "Outline"
    least: int
    most: int


Outline = TextValue | NumberValue | ChoiceValue | ObjectForm | ArrayForm
MOST_CHARACTERS = 10**6  # of a string without `maxLength`: its room bounds it


def outline_of(schema: object) -> Outline:
    """Return the outline of a schema.

    Raises:
        ValueError: what cannot be filled in; the message names the place in the schema.
    """
    try:
        check_utf8(json.dumps(schema, ensure_ascii=False, allow_nan=False), "The schema")
    except RecursionError as error:
        raise ValueError("The schema is nested too deeply; flatten it.") from error
    outline = _Reader(schema).read(schema, "schema", 0)
    count = _values(outline)
    if not 1 <= count <= MOST_VALUES:
        raise ValueError(f"The schema has {count} values to fill in; give one with 1 to {MOST_VALUES}.")
    return outline


def _values(outline: Outline) -> int:
    if isinstance(outline, ObjectForm):
        return sum(_values(one) for _, one in outline.properties)
    return outline.most * _values(outline.item) if isinstance(outline, ArrayForm) else 1


class _Reader:
    """Reads the parts of one schema."""

    def __init__(self, root: object) -> None:
        self.root = root

    def read(self, schema: object, place: str, depth: int, nullable: bool = False) -> Outline:
        """Return the outline of a part; `place` names it."""
        if not isinstance(schema, Mapping):
            raise ValueError(f"{place} is {str(schema)[:60]}; give an object with a type.")
        if depth > DEEPEST:
            raise ValueError(f"{place[:100]}... is nested more than {DEEPEST} deep, or in itself; flatten it.")
        if "$ref" in schema:
            return self.read(self._target(schema, place), place, depth + 1, nullable)
        if "anyOf" in schema:
            return self.read(self._but_null(schema, place), place, depth + 1, nullable=True)
        if "enum" in schema or "const" in schema:
            return _choice(schema, place, nullable)
        kind, can_be_null = _type_of(schema, place)
        nullable = nullable or can_be_null
        unknown = [name for name in schema if name not in (*SILENT, *OF_TYPE[kind], "type")]
        if unknown:
            raise ValueError(f"{place} has {unknown[0]!r}, which cannot be kept to; leave it out.")
        if kind == "object":
            return self._object(schema, place, depth)
        if kind == "array":
            return self._array(schema, place, depth)
        return _plain(kind, schema, place, nullable)

    def _object(self, schema: Mapping[str, Any], place: str, depth: int) -> ObjectForm:
        properties, required = schema.get("properties", {}), schema.get("required", [])
        if not isinstance(properties, Mapping) or not isinstance(required, list):
            raise ValueError(f"{place} has properties that are no object, or a required that is no list; mend it.")
        lacking = [name for name in required if name not in properties]
        if lacking:
            raise ValueError(f"{place} requires {lacking[0]!r}, which is none of its properties; describe it.")
        inner = ((name, self.read(one, f"{place}.{name}", depth + 1)) for name, one in properties.items())
        return ObjectForm(tuple(inner))

    def _array(self, schema: Mapping[str, Any], place: str, depth: int) -> ArrayForm:
        least, most = _bounds(schema, place, "minItems", "maxItems", MOST_VALUES)
        if "maxItems" not in schema:
            raise ValueError(f"{place} is an array without maxItems; give it, since all items are filled in at once.")
        if schema.get("uniqueItems"):
            raise ValueError(f"{place} has unique items, which cannot be kept to; leave uniqueItems out.")
        return ArrayForm(self.read(schema.get("items"), f"{place}.items", depth + 1), least, most)

    def _target(self, schema: Mapping[str, Any], place: str) -> object:
        """Return the part of the schema that a reference names."""
        name, found = schema["$ref"], self.root
        others = [keyword for keyword in schema if keyword not in (*SILENT, "$ref")]
        if not isinstance(name, str) or not name.startswith("#/") or others:
            raise ValueError(f"{place} has a $ref that is no place in the schema itself, or more beside it; mend it.")
        for key in name[2:].split("/"):
            key = key.replace("~1", "/").replace("~0", "~")
            if not isinstance(found, Mapping) or key not in found:
                raise ValueError(f"{place} refers to {name[:100]}, which is not there; mend it.")
            found = found[key]
        return found

    def _but_null(self, schema: Mapping[str, Any], place: str) -> object:
        """Return the one part of an `anyOf` that is not null."""
        parts, others = schema["anyOf"], [keyword for keyword in schema if keyword not in (*SILENT, "anyOf")]
        parts = [one for one in parts if one != {"type": "null"}] if isinstance(parts, list) else []
        if len(parts) != 1 or len(schema["anyOf"]) != 2 or others:
            raise ValueError(f"{place} has an anyOf that is not something or null; choose one.")
        return parts[0]


def _type_of(schema: Mapping[str, Any], place: str) -> tuple[str, bool]:
    """Return the type of a part, and whether it may be null instead."""
    given = schema.get("type", "object" if "properties" in schema else None)
    kinds = given if isinstance(given, list) else [given]
    names = [kind for kind in kinds if kind != "null"] or kinds
    if len(names) != 1 or not isinstance(names[0], str) or names[0] not in OF_TYPE:
        raise ValueError(f"{place} has the type {str(given)[:60]}; give one of {', '.join(OF_TYPE)}.")
    return names[0], len(kinds) > 1


def _plain(kind: str, schema: Mapping[str, Any], place: str, nullable: bool) -> Outline:
    if kind == "string":
        return TextValue(*_bounds(schema, place, "minLength", "maxLength", LONGEST_TEXT), nullable)
    if kind in ("boolean", "null"):
        return ChoiceValue(
            ((True, False) if kind == "boolean" else ()) + ((None,) if nullable or kind == "null" else ())
        )
    if "minimum" in schema or "maximum" in schema:
        return ChoiceValue((*_few_integers(schema, place), *((None,) if nullable else ())))
    return NumberValue(kind == "integer", nullable)


def _few_integers(schema: Mapping[str, Any], place: str) -> range:
    low, high = schema.get("minimum"), schema.get("maximum")
    if not (_is_whole(low) and _is_whole(high) and 0 <= high - low < MOST_CHOICES):
        raise ValueError(
            f"{place} has the bounds {low} and {high}; give both, whole and less than {MOST_CHOICES} apart."
        )
    return range(low, high + 1)


def _choice(schema: Mapping[str, Any], place: str, nullable: bool) -> ChoiceValue:
    choices = schema["enum"] if "enum" in schema else [schema["const"]]
    others = [name for name in schema if name not in (*SILENT, "enum", "const", "type")]
    plain = isinstance(choices, list) and all(isinstance(one, (str, int, float, bool, type(None))) for one in choices)
    if not plain or not 1 <= len(choices) <= MOST_CHOICES or others or {"enum", "const"} <= schema.keys():
        raise ValueError(f"{place} has an enum that is no list of 1 to {MOST_CHOICES} plain values, or more; mend it.")
    if "type" in schema:
        kind, can_be_null = _type_of(schema, place)
        kinds = {"string": str, "boolean": bool, "integer": int, "number": (int, float), "null": type(None)}.get(
            kind, ()
        )
        wrong = [one for one in choices if not isinstance(one, kinds) and not (one is None and can_be_null)]
        if wrong or (kind in ("integer", "number") and any(isinstance(one, bool) for one in choices)):
            raise ValueError(f"{place} has an enum with values that are no {kind}; leave them out.")
    return ChoiceValue((*choices, *((None,) if nullable and None not in choices else ())))


def _bounds(schema: Mapping[str, Any], place: str, low: str, high: str, highest: int) -> tuple[int, int]:
    least, most = schema.get(low, 0), schema.get(high, MOST_CHARACTERS)
    if not (_is_whole(least) and _is_whole(most) and 0 <= least <= min(most, highest) and most >= 1):
        raise ValueError(f"{place} has {low} {least} and {high} {most}; give whole numbers, {low} at most {highest}.")
    return least, most


def _is_whole(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)
