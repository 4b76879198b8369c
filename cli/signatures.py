"""The signature of a command as Typer reads it: groups of options spread out, an option for every field of `generate`.

    def generate(prompt: ..., loading: Loading, output: Output, **fields: object)

has the options --model, --dtype, --device, --json, --debug, --decoding, --steps-ratio, ..., --set.
"""

import dataclasses
import inspect
from collections.abc import Callable, Iterator
from copy import copy
from functools import wraps
from typing import Annotated, Any, TypeVar, get_args, get_type_hints

from .field_options import field_options

Result = TypeVar("Result")


def as_command(function: Callable[..., Result]) -> Callable[..., Result]:
    """Return the function with the signature that Typer reads.

    A parameter whose type is a dataclass becomes one option per field of the class; the help lists them under the
    class's `panel`, if it has one. `**fields` becomes the options of `field_options`, for the tables as they are now.
    """
    hints = get_type_hints(function, include_extras=True)
    groups: dict[str, Any] = {name: hint for name, hint in hints.items() if dataclasses.is_dataclass(hint)}

    @wraps(function)
    def run(**given: object) -> Result:
        for name, group in groups.items():
            given[name] = group(**{field.name: given.pop(field.name) for field in dataclasses.fields(group)})
        return function(**given)

    signature = inspect.signature(function)
    parameters = [one for named in signature.parameters.values() for one in _spread(named, hints[named.name])]
    run.__dict__["__signature__"] = signature.replace(parameters=parameters)
    return run


def _spread(parameter: inspect.Parameter, hint: object) -> Iterator[inspect.Parameter]:
    """Yield the parameters that stand for one parameter of the function."""
    if parameter.kind is parameter.VAR_KEYWORD:
        yield from field_options()
    elif dataclasses.is_dataclass(hint):
        hints = get_type_hints(hint, include_extras=True)
        for field in dataclasses.fields(hint):
            annotation = _in_panel(hints[field.name], getattr(hint, "panel", None))
            default = parameter.empty if field.default is dataclasses.MISSING else field.default
            yield inspect.Parameter(field.name, parameter.KEYWORD_ONLY, default=default, annotation=annotation)
    else:
        yield parameter.replace(kind=parameter.KEYWORD_ONLY, annotation=hint)


def _in_panel(annotation: object, panel: str | None) -> object:
    """Return an annotated type whose option is listed under a panel of the help."""
    kind, option = get_args(annotation)
    option = copy(option)
    option.rich_help_panel = panel
    return Annotated[kind, option]
