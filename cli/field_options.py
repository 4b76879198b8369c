"""Options of the command line for the fields of `generate`, made from the tables of generation/fields.py.

A field whose values are numbers, texts or switches has an option: steps_ratio is --steps-ratio RATIO, keep_plan is
--keep-plan or --no-keep-plan. The others take their value as JSON: --set suppress_in_spans=[5,6].
"""

import json
from collections.abc import Iterator, Mapping
from functools import lru_cache
from inspect import Parameter
from types import GenericAlias
from typing import Annotated, Any, cast

from rich.markup import escape
from typer import Option
from typer.models import OptionInfo

from ..generation.fields import DECODER_NAMES, FIELDS, SHARED_FIELDS, Field
from ..inference.decoding_fields import with_sampling
from ..loading.embedded import EMBEDDED

# Fields of the help's first panel, as far as the tables have them; all others follow.
FIRST_FIELDS = (
    "decoding", "max_new_tokens", "max_length", "max_time", "keep_plan", "do_sample", "temperature", "top_p", "top_k",
    "seed",
)  # fmt: skip
FIRST_PANEL, SECOND_PANEL = "Decoder, lengths and sampling", "Details of decoding"
SWITCHES_PANEL = "Details of decoding, on or off"  # apart: the names of both states need room beside the help texts
SET = "others"  # the parameter of --set
METAVARS = {float: "X", int: "N", str: "NAME"}  # short, to leave the help texts room


def field_options() -> Iterator[Parameter]:
    """Yield an option for every field of `generate`, and --set; None stands for "not given"."""
    fields = {name: field for name, field in (FIELDS | SHARED_FIELDS).items() if field.in_cli}
    first = {name: fields[name] for name in FIRST_FIELDS if name in fields}
    for name, field in (first | fields).items():
        kind = field.check.kind
        if kind is not None:
            panel = FIRST_PANEL if name in first else SWITCHES_PANEL if kind is bool else SECOND_PANEL
            yield parameter(name, kind, field_option(name, field, kind, panel))
    only_json = ", ".join(name for name, field in fields.items() if field.check.kind is None)
    text = f"Any field of generate, its value as JSON; may be repeated. Fields without an option: {only_json}."
    yield parameter(SET, list[str], Option("--set", metavar="FIELD=VALUE", help=text))


def parameter(name: str, kind: type | GenericAlias, option: OptionInfo) -> Parameter:
    """Return a parameter that Typer reads as this option, None where it is not given."""
    return Parameter(name, Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[kind | None, option])


def field_option(name: str, field: Field, kind: type, panel: str) -> OptionInfo:
    """Return the option of one field; its help is the field's meaning and defaults."""
    default = ("off", "on")[field.default] if kind is bool and field.default is not None else field.default
    default = None if default is None else str(default)
    if name in included_defaults():
        default = f"{default or 'none'}; included model: {included_defaults()[name]}"
    choice = f" Choose {' or '.join(map(repr, DECODER_NAMES))}." if name == "decoding" else ""
    meaning = f"{field.meaning}{choice}"
    return Option(
        help=escape(meaning),
        metavar=METAVARS.get(kind),
        rich_help_panel=panel,
        show_default=False if default is None else default,
    )


@lru_cache(maxsize=1)
def included_defaults() -> dict[str, object]:
    """Return the fields that the included checkpoint chooses; none where it is missing."""
    try:
        return json.loads((EMBEDDED / "generation_config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}


def given_fields(options: Mapping[str, object]) -> dict[str, Any]:
    """Return the fields that were given, by their options or by --set; a temperature says whether to sample.

    Raises:
        ValueError: a text of --set is no FIELD=VALUE, or names a field that was given already or is for Python only.
    """
    fields = {name: value for name, value in options.items() if value is not None and name != SET}
    table = FIELDS | SHARED_FIELDS
    for text in cast(list[str] | None, options.get(SET)) or ():
        name, equals, value = text.partition("=")
        if not (name and equals):
            raise ValueError(f"--set got {text!r}; give FIELD=VALUE, such as block_size=16.")
        if name in fields:
            raise ValueError(f"{name} is given twice; give it once.")
        if name in table and not table[name].in_cli:
            raise ValueError(f"--set {name} means nothing on the command line; leave it out.")
        fields[name] = json_or_text(value)
    return with_sampling(fields)


def json_or_text(text: str) -> object:
    """Return a value as JSON writes it (8, 0.5, true, [1, 2]); anything else is a string."""
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text
