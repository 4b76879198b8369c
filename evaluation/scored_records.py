"""Read prompts with their answers, to be scored: JSON Lines, in the form of training records or of published sets.

    {"messages": [{"role": "user", "content": ...}, {"role": "assistant", "content": ...}]}
    {"prompt": "Why is the sky blue?", "answer": "Because ..."}

`instruction` (with `input`) or `question` may stand for `prompt`, `response` or `output` for `answer`. An answer with
tags (records/tagged.py) is a planned one.
"""

from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from ..records.jsonl import json_lines
from .text_prompts import published_prompt

ANSWERS = ("answer", "response", "output")


@dataclass(frozen=True)
class ScoredRecord:
    """A chat that ends in the answer to score, with the number of its line."""

    line: int
    messages: list[dict[str, Any]]


def read_scored_records(path: Path, count: int | None = None) -> list[ScoredRecord]:
    """Return the first `count` records of a file, or all.

    Raises:
        ValueError: no such file, no records in it, or a line that holds none (with its number).
    """
    if not path.is_file():
        raise ValueError(f"There is no file {path}; give --prompts a JSONL file of prompts with their answers.")
    records = [_record(path, number, row) for number, row in islice(json_lines(path), count)]
    if not records:
        raise ValueError(f"{path} holds no records; write one JSON object per line.")
    return records


def _record(path: Path, number: int, row: dict[str, Any]) -> ScoredRecord:
    try:
        return ScoredRecord(number, _messages(row))
    except ValueError as error:
        raise ValueError(f"{path}, line {number}: {error}") from error


def _messages(row: dict[str, Any]) -> list[dict[str, Any]]:
    messages = row.get("messages")
    if isinstance(messages, list):
        return messages
    key = next((key for key in ANSWERS if key in row), None)
    if key is None:
        raise ValueError(f"it has neither messages nor {', '.join(ANSWERS)}; give one of them.")
    prompt = row["prompt"] if "prompt" in row else published_prompt(row)
    return [{"role": "user", "content": prompt}, {"role": "assistant", "content": row[key]}]
