"""Read the body of a request: bounded in size and time, JSON without loose ends, then checked by its model."""

import asyncio
import json
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from fastapi import Request
from pydantic import ValidationError
from starlette.requests import ClientDisconnect

from ...generation.fields import FIELDS, SHARED_FIELDS
from .bodies import Answering, Body
from .limits import Limits
from .refusals import RefusalError

Kind = TypeVar("Kind", bound=Body)
Read = Coroutine[Any, Any, tuple[Kind, dict[str, Any]]]

# Fields of `generate` that a body cannot have: OpenAI's names are taken instead, or they have no meaning for text.
RENAMED = {"max_new_tokens": "max_tokens", "stop_strings": "stop", "max_length": "max_tokens"}
UNSUITABLE = ("keep_plan", "suppress_in_spans", "pad_token_id", "bos_token_id", "eos_token_id")


def own_fields() -> frozenset[str]:
    """Return the fields of `generate` that a body may have beside OpenAI's, for the tables as they are now."""
    names = {name for name, field in (SHARED_FIELDS | FIELDS).items() if field.in_cli}
    return frozenset(names - RENAMED.keys() - set(UNSUITABLE))


def reader_of(kind: type[Kind], limits: Limits) -> Callable[[Request], Read[Kind]]:
    """Return a function that reads a body: its fields as OpenAI has them, and the fields of `generate` in it."""

    async def read(http: Request) -> tuple[Kind, dict[str, Any]]:
        _check_content_type(http.headers.get("content-type", ""))
        return checked(kind, parsed(await received(http, limits)))

    return read


async def received(http: Request, limits: Limits) -> bytes:
    """Return the bytes of a body.

    Raises:
        RefusalError: too many of them, or they came too slowly.
    """
    too_large = RefusalError(
        f"The body has more than {limits.body_bytes} bytes; send a shorter request.", 413, code="body_too_large"
    )
    length = http.headers.get("content-length", "")
    if length.isdigit() and int(length) > limits.body_bytes:
        raise too_large
    body = bytearray()
    try:
        async with asyncio.timeout(limits.body_seconds):
            async for chunk in http.stream():
                body += chunk
                if len(body) > limits.body_bytes:
                    raise too_large
    except TimeoutError as error:
        message = f"The body did not arrive within {limits.body_seconds:g} seconds; send it faster."
        raise RefusalError(message, 408, code="timeout") from error
    except ClientDisconnect as error:
        raise RefusalError("The client has left.", 400) from error
    return bytes(body)


def parsed(body: bytes) -> dict[str, Any]:
    """Return the JSON object of a body.

    Raises:
        RefusalError: no JSON, no object, a name twice in an object, NaN, or too deep.
    """
    try:
        found = json.loads(body, object_pairs_hook=_without_twins, parse_constant=_no_number)
    except RecursionError as error:
        raise RefusalError("The body is nested too deeply to be read; send a flatter one.") from error
    except (ValueError, UnicodeDecodeError) as error:
        raise RefusalError(f"The body is no JSON ({error}); send one JSON object in UTF-8.") from error
    if not isinstance(found, dict):
        raise RefusalError(f"The body is a {type(found).__name__}; send one JSON object.")
    return found


def checked(kind: type[Kind], found: dict[str, Any]) -> tuple[Kind, dict[str, Any]]:
    """Return a body, and the fields of `generate` that stand in it beside its own.

    Raises:
        RefusalError: an unknown field, or a value that cannot be used; it names the field.
    """
    names = own_fields() - kind.model_fields.keys() if issubclass(kind, Answering) else frozenset()
    fields = {name: value for name, value in found.items() if name in names}
    for name, value in fields.items():
        check_field(name, value)
    try:
        return kind.model_validate({name: value for name, value in found.items() if name not in fields}), fields
    except ValidationError as error:
        raise _refusal(error) from error
    except RecursionError as error:
        raise RefusalError("The body is nested too deeply to be read; send a flatter one.") from error


def check_field(name: str, value: object) -> None:
    """Check one field of `generate` alone; together they are checked where the request is made.

    Raises:
        RefusalError: a value out of range.
    """
    known = SHARED_FIELDS | FIELDS
    try:
        if name in known:
            known[name].check(name, value)
    except ValueError as error:
        raise RefusalError(str(error), param=name) from error


def _check_content_type(given: str) -> None:
    """Refuse a body that does not say that it is JSON: pages of other sites may send such without being asked."""
    kind = given.partition(";")[0].strip().lower()
    if kind != "application/json":
        message = f"The content type is {given[:100] or 'missing'}; send JSON as application/json."
        raise RefusalError(message, 415, code="unsupported_content_type")


def _without_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twin = next(name for name in names if names.count(name) > 1)
        raise RefusalError(f"{twin[:100]!r} stands twice in one object; give it once.", param=twin[:100])
    return found


def _no_number(name: str) -> float:
    raise RefusalError(f"The body holds {name}, which is no number of JSON; give a finite one.")


def _refusal(error: ValidationError) -> RefusalError:
    """Return the first error that pydantic found, in a sentence that names the field."""
    first = error.errors(include_url=False)[0]
    path = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in first["loc"]).lstrip(".")[:200]
    if first["type"] == "extra_forbidden":
        better = RENAMED.get(path)
        hint = f"give {better} instead" if better else "leave it out"
        return RefusalError(f"{path} is no field of this request; {hint}.", param=path, code="unknown_parameter")
    if first["type"] == "missing":
        return RefusalError(f"{path} is missing; give it.", param=path, code="missing_required_parameter")
    message = first["msg"].removeprefix("Value error, ").rstrip(".")
    return RefusalError(f"{path} is {_short(first['input'])}: {message}.", param=path)


def _short(value: object) -> str:
    """Return the beginning of a value as it is written in Python."""
    try:
        text = ascii(value)
    except RecursionError:
        return "something deep"
    return text if len(text) <= 60 else f"{text[:60]}..."
