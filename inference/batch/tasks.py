"""Read lines of requests as `Task`s; an error in a line is raised with its number, before anything runs.

A line holds a prompt or the messages of a chat and, if need be, an id, a plan and fields of `generate`:

    {"prompt": "Why is the sky blue?"}
    {"id": "a7", "messages": [{"role": "user", "content": "Hello"}], "temperature": 0.7, "seed": 1}
    {"prompt": "What is iron?", "plan": [[["symbol", 8], ["use", 24]]]}

Lines of OpenAI's batch files are read as well (openai_lines.py), and those of a file of failed requests, whose `error`
is passed over.
"""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from ...generation.config import PlannedDiffusionGenerationConfig
from ...generation.fields import FIELDS, SHARED_FIELDS
from ...generation.skeleton import Blank, Kept
from ...records.checks import ROLES, check_utf8
from ...records.content import joined_text, refuse_media
from ...records.jsonl import KeptInput, json_lines
from ..decoding_fields import with_sampling
from .openai_lines import is_openai_line, request_of

STDIN = Path("-")


@dataclass(frozen=True)
class Task:
    """A request of a file, as plain JSON throughout.

    index: the place of the request in the file, from 0.
    id: the line's own id, or else its number.
    fingerprint: a hash of the line's content.
    prompt: text, or the messages of a chat.
    fields: fields of `generate`.
    plan: a plan as the line has it; see `read_plan`.
    row: the line as it is.
    """

    index: int
    id: str | int
    fingerprint: str
    prompt: str | list[dict[str, Any]]
    fields: dict[str, Any]
    plan: list[Any] | None
    row: dict[str, Any]


@dataclass(frozen=True)
class TaskFile:
    """A file in which every line is a request: their number, and a hash of the whole file.

    kept: standard input, where the file holds that.
    """

    path: Path
    count: int
    sha256: str
    kept: KeptInput | None = None

    def __iter__(self) -> Iterator[Task]:
        """Yield the requests in order; every iteration reads the file anew."""
        for index, (number, row) in enumerate(json_lines(self.path)):
            yield _task(index, number, row)


def open_tasks(source: Path) -> TaskFile:
    """Read a file through once to check every line; "-" stands for standard input, kept in a temporary file.

    Raises:
        ValueError: no such file, no requests in it, or a line that is no request (with its number).
    """
    kept = KeptInput() if source == STDIN else None
    path, name = (source, str(source)) if kept is None else (kept.path, "standard input")
    if not path.is_file():
        raise ValueError(f"There is no file {name}; give IN a file with one JSON object per line.")
    seen: dict[str | int, int] = {}
    index = -1
    for index, (number, row) in enumerate(json_lines(path, name=name)):
        try:
            task = _task(index, number, row)
        except ValueError as error:
            raise ValueError(f"{name}, line {number}: {error}") from error
        if task.id in seen:
            raise ValueError(f"{name}, line {number}: its id {task.id!r} is that of line {seen[task.id]}; change one.")
        seen[task.id] = number
    if index < 0:
        raise ValueError(f"{name} holds no requests; write one JSON object per line.")
    with path.open("rb") as file:
        return TaskFile(path, index + 1, hashlib.file_digest(file, "sha256").hexdigest(), kept)


def field_names() -> tuple[str, ...]:
    """Return the fields of `generate` that a line may have."""
    return tuple(name for name, field in (SHARED_FIELDS | FIELDS).items() if field.in_cli)


def read_plan(plan: object) -> list[Any]:
    """Return a plan as `generate` takes it.

    In a canvas {"blank": 4, "exact": true} stands for a `Blank`; {"kept": "a text", "tokens": 24} in place of a length
    stands for a `Kept`.

    Raises:
        ValueError: no list of rounds, or an object that is neither of them.
    """
    if not isinstance(plan, list) or not plan or not all(isinstance(parts, list) for parts in plan):
        raise ValueError("plan is no list of rounds; give one such as [[[topic, length in tokens], ...], ...].")
    return [[_part(part) for part in parts] for parts in plan]


def _task(index: int, number: int, row: dict[str, Any]) -> Task:
    line = request_of(row) if is_openai_line(row) else {name: row[name] for name in row if name != "error"}
    names = field_names()
    known = ("id", "prompt", "messages", "plan", *names)
    unknown = [name for name in line if name not in known]
    if unknown:
        raise ValueError(f"{unknown[0]} is no field of a request; choose among {', '.join(known)}.")
    id_ = line.get("id", number)
    if isinstance(id_, bool) or not isinstance(id_, (str, int)):
        raise ValueError(f"its id is {id_!r}; give text or a whole number.")
    fields = {name: line[name] for name in names if name in line}
    if isinstance(line.get("seed"), list):
        raise ValueError("its seed is a list; give a whole number, for the one answer of this line.")
    _check_fields(json.dumps(fields))
    if line.get("plan") is not None:
        read_plan(line["plan"])
    fingerprint = hashlib.sha256(json.dumps(row, sort_keys=True).encode()).hexdigest()[:16]
    return Task(index, id_, fingerprint, prompt_of(line), with_sampling(fields), line.get("plan"), row)


@lru_cache(maxsize=1024)
def _check_fields(fields: str) -> None:
    """Check fields given as JSON, cached: in most files all lines have the same fields."""
    PlannedDiffusionGenerationConfig(**json.loads(fields))


def prompt_of(row: dict[str, Any]) -> str | list[dict[str, Any]]:
    """Return the prompt of a line, or its messages.

    Raises:
        ValueError: neither or both of them, or one that is no text.
    """
    if ("prompt" in row) == ("messages" in row):
        has = "both prompt and messages" if "prompt" in row else "neither prompt nor messages"
        raise ValueError(f"it has {has}; give one of them.")
    if "prompt" in row:
        return _text("prompt", row["prompt"])
    messages = row["messages"]
    if not isinstance(messages, list) or not messages or not all(isinstance(one, dict) for one in messages):
        raise ValueError('messages is no list of objects; give [{"role": ..., "content": ...}, ...].')
    for message in messages:
        if message.get("role") not in ROLES:
            raise ValueError(f"a message has the role {message.get('role')!r}; choose one of {', '.join(ROLES)}.")
        refuse_media(message, "a message")
    if messages[-1]["role"] == "assistant":
        raise ValueError("the last message is the assistant's, which is to be written; leave it out.")
    return [{**message, "content": _text("a message's content", message.get("content"))} for message in messages]


def _text(name: str, content: object) -> str:
    """Return a text, given as one or as a list of parts."""
    text = joined_text(content, name)
    if not isinstance(text, str) or not text.strip():
        raise ValueError(f"{name} is {text!r}; give some text.")
    check_utf8(text, name)
    return text


def _part(part: object) -> object:
    """Return a part of a plan; the pieces of a canvas, or a kept text, are read."""
    if isinstance(part, list) and len(part) == 2 and isinstance(part[1], dict):
        if not {"kept"} <= set(part[1]) <= {"kept", "tokens"}:
            raise ValueError(f'a part of a plan is {part[1]!r}; give a length, or {{"kept": text, "tokens": length}}.')
        return [part[0], Kept(part[1]["kept"], part[1].get("tokens"))]
    if isinstance(part, list) and len(part) == 2 and isinstance(part[1], list):
        return [part[0], [_piece(piece) for piece in part[1]]]
    return part


def _piece(piece: object) -> object:
    if not isinstance(piece, dict):
        return piece
    if not {"blank"} <= set(piece) <= {"blank", "exact"} or not isinstance(piece.get("exact", False), bool):
        raise ValueError(f'a piece of a canvas is {piece!r}; give text, or {{"blank": tokens, "exact": true}}.')
    return Blank(piece["blank"], piece.get("exact", False))
