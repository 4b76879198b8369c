"""The prompts of a run: drawn here or read from a file, and beside them those of a pool that may be published."""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from ..records.jsonl import json_lines
from .prompt_set import prompts

PERMISSIVE = ("Apache-2.0", "MIT")
MOST_POOL_WORDS = 60  # of a prompt; longer ones are mostly texts to work on

Row = dict[str, Any]


def drawn(count: int, seed: int, held_out: bool = False) -> list[Row]:
    """Return prompts of this project's own as rows."""
    return [{**prompt.record(), "source": "planned-diffusion"} for prompt in prompts(count, seed, held_out)]


def from_file(path: Path) -> list[Row]:
    """Return the prompts of a JSON Lines file; ids, kinds, `parts` and `sub_prompts` are kept where a line has them.

    Raises:
        ValueError: no such file, a line without a prompt or with wrong sub-prompts, or no prompts at all.
    """
    rows = [
        {"id": f"given-{number:05d}", "kind": "given", "parts": None, "source": path.name} | row
        for number, row in _rows(path)
    ]
    if not rows:
        raise ValueError(f"{path} holds no prompts; write one object with 'prompt' per line.")
    return rows


def from_pool(path: Path) -> list[Row]:
    """Return the prompts, not the answers, of those records of a pool whose licence permits any use.

    A licence must name one of PERMISSIVE and nothing behind it but remarks after a semicolon or in brackets: "MIT;
    GPT-4 outputs" is about answers, which are not read. "Apache-2.0 repo; alpaca prompts" is another case, and CC BY-SA
    would ask for its own terms on everything that is made of it; both are left out.

    Raises:
        ValueError: no such file, a line without a prompt, or no record with such a licence.
    """
    rows = [
        {"id": f"pool-{number:05d}", "prompt": row["prompt"].strip(), "kind": "pool", "parts": None}
        | {"source": row.get("source"), "licence": row["licence"]}
        for number, row in _rows(path)
        if may_be_published(row.get("licence")) and len(row["prompt"].split()) <= MOST_POOL_WORDS
    ]
    if not rows:
        raise ValueError(f"{path} holds no prompt whose licence is {' or '.join(PERMISSIVE)}; leave --pool out.")
    return rows


def _check_sub_prompts(given: object, place: str) -> None:
    """Raise ValueError where sub-prompts lack what is read of them."""
    needed: dict[str, type] = {"topic": str, "label": str, "prompt": str, "sentences": int, "subject": str}
    asked = given if isinstance(given, list) else [None]
    for one in asked:
        if not isinstance(one, dict) or not all(isinstance(one.get(name), kind) for name, kind in needed.items()):
            raise ValueError(f"{place}: 'sub_prompts' is no list of objects with {', '.join(needed)}; remove it.")


def may_be_published(licence: object) -> bool:
    """Tell whether a pool's licence permits any use of a prompt."""
    return isinstance(licence, str) and re.split(r"[;(]", licence)[0].strip() in PERMISSIVE


def distinct(rows: Iterable[Row]) -> Iterator[Row]:
    """Yield the rows whose prompt did not occur before, whatever its case and spaces."""
    seen: set[str] = set()
    for row in rows:
        key = " ".join(row["prompt"].lower().split())
        if key not in seen:
            seen.add(key)
            yield row


def _rows(path: Path) -> Iterator[tuple[int, Row]]:
    if not path.is_file():
        raise ValueError(f"There is no file {path}; give JSON Lines with 'prompt'.")
    for number, row in json_lines(path):
        if not isinstance(row.get("prompt"), str) or not row["prompt"].strip():
            raise ValueError(f"{path}, line {number}: no text 'prompt'; write {{\"prompt\": ...}}.")
        _check_sub_prompts(row.get("sub_prompts", []), f"{path}, line {number}")
        yield number, row
