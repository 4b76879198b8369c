"""Read the prompts of a text task: JSON Lines, or plain text with a prompt per line.

A line of JSON holds a request as `batch` reads it (`prompt` or `messages`, or OpenAI's batch lines), or the
`instruction` (with `input`) or `question` of a published set. Two further keys say what the prompt asks for:

    parts   true: independent parts, so that a plan pays; false: one text that should not be split
    kind    any text, by which prompts are counted
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

from ..inference.answer import Prompt
from ..inference.batch.openai_lines import is_openai_line, request_of
from ..inference.batch.tasks import prompt_of
from ..records.jsonl import UNREADABLE, json_lines, open_bytes

Kind = TypeVar("Kind")
PUBLISHED = ("instruction", "question")  # keys of a prompt in published sets
JSON_NAMES = (".json", ".jsonl", ".json.gz", ".jsonl.gz")


@dataclass(frozen=True)
class TextPrompt:
    """A prompt: the number of its line, text or messages, and what it asks for; None where the file does not say."""

    line: int
    prompt: Prompt
    asks_for_parts: bool | None = None
    kind: str | None = None


def read_text_prompts(path: Path, count: int | None = None) -> list[TextPrompt]:
    """Return the first `count` prompts of a file, or all.

    Raises:
        ValueError: no such file, no prompts in it, or a line that holds none (with its number).
    """
    if not path.is_file():
        raise ValueError(f"There is no file {path}; give --prompts a file with a prompt per line.")
    read = _json_prompts if _is_json(path) else _plain_prompts
    prompts = list(islice(read(path), count))
    if not prompts:
        raise ValueError(f"{path} holds no prompts; write one per line.")
    return prompts


def _is_json(path: Path) -> bool:
    """Tell whether a file holds JSON Lines: by its name, or because its first text begins an object."""
    return path.name.lower().endswith(JSON_NAMES) or next(
        (line.startswith("{") for _, line in _text_lines(path)), False
    )


def _plain_prompts(path: Path) -> Iterator[TextPrompt]:
    return (TextPrompt(number, line) for number, line in _text_lines(path))


def _json_prompts(path: Path) -> Iterator[TextPrompt]:
    for number, row in json_lines(path):
        try:
            yield _text_prompt(number, row)
        except ValueError as error:
            raise ValueError(f"{path}, line {number}: {error}") from error


def _text_prompt(number: int, row: dict[str, Any]) -> TextPrompt:
    line = request_of(row) if is_openai_line(row) else row
    if "prompt" not in line and "messages" not in line:
        line = {**line, "prompt": published_prompt(line)}
    return TextPrompt(
        number,
        prompt_of(line),
        _typed(row, "parts", bool, "true or false"),
        _typed(row, "kind", str, "some text"),
    )


def published_prompt(row: dict[str, Any]) -> object:
    """Return the prompt of a published set's record: an instruction with its input behind it, or a question.

    Raises:
        ValueError: neither of them.
    """
    key = next((key for key in PUBLISHED if key in row), None)
    if key is None:
        raise ValueError(f"it has none of prompt, messages, {' and '.join(PUBLISHED)}; give one of them.")
    text, more = row[key], row.get("input")
    return f"{text}\n\n{more}" if isinstance(text, str) and isinstance(more, str) and more.strip() else text


def _typed(row: dict[str, Any], key: str, kind: type[Kind], expected: str) -> Kind | None:
    value = row.get(key)
    if value is not None and not isinstance(value, kind):
        raise ValueError(f"its {key} is {value!r}; give {expected}, or leave it out.")
    return value


def _text_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the number of each line that is not empty, counted from 1, and its text."""
    number = 0
    try:
        with open_bytes(path) as lines:
            for number, line in enumerate(lines, start=1):
                text = line.decode("utf-8-sig").strip()
                if text:
                    yield number, text
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{path}, line {number}: not UTF-8 ({error.reason} at byte {error.start}); convert the file."
        ) from error
    except UNREADABLE as error:
        raise ValueError(
            f"{path}, after line {number}: cannot be read further ({error}); is the file whole?"
        ) from error
