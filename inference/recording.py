"""Trace files: every event of one answer, in order, as JSON that can be read without tokenizer or model.

    {
      "format": "planned-diffusion-trace", "version": 1,
      "prompt": "...", "prompt_ids": [...], "options": {...},              fields of generate that the caller gave
      "text", "plans", "counts", "seconds", "ended", "model", "decoding", "felt_seconds",
                                                                           as in the object of `generate --json`
      "versions": {"planned_diffusion", "python", "torch", "transformers", "tokenizers"},
      "events": [{"event": "PlanToken", "at_seconds": 0.04, "round": 0, "position": 17, "token_id": 9, "text": "cap"},
                 ...]
    }

An event is a dataclass of generation/events.py: `event` is its name, its fields follow, and `at_seconds` counts from
the start of generation. Token ids are accompanied by their spelling, control tokens included:

    token_id                 text    the token alone
    token_ids                texts   each token alone (a part of a character reads as U+FFFD)
                             text    all of them; in `Text` events the text that they complete: joined, these texts
                                     are the answer's prose
    topic_ids                topic   without the space at its end
    answer_ids, written_ids  answer, written

Positions count from the prompt's first token. `version` rises with every change that breaks readers.
"""

import json
import os
import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import fields as fields_of
from dataclasses import is_dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerBase

from .. import __version__
from ..generation.events import Event, Text
from ..generation.skeleton import Skeleton
from .answer import Answer, Fields, Prose, read

FORMAT, VERSION = "planned-diffusion-trace", 1
PACKAGES = ("torch", "transformers", "tokenizers")


class Recording:
    """The events of one answer, collected; pass `add` to `answer.ask` as a listener."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self.tokenizer = tokenizer
        self.events: list[dict[str, Any]] = []
        self._prose = Prose(tokenizer)
        self._started = time.perf_counter()

    def add(self, index: int, event: Event) -> None:
        """Record an event with its time and the spelling of its token ids."""
        at_seconds = round(time.perf_counter() - self._started, 6)
        fields = self._with_spellings(_fields(event))
        if isinstance(event, Text):
            fields["text"] = self._prose.add(event.token_ids)
        self.events.append({"event": type(event).__name__, "at_seconds": at_seconds, **fields})

    def _with_spellings(self, fields: dict[str, Any]) -> dict[str, Any]:
        """Return fields with the spellings of their token ids, at every depth; tuples become lists."""
        spelled = {name: self._converted(value) for name, value in fields.items()}
        for name in fields.keys() & SPELLERS.keys():
            spelled |= SPELLERS[name](self.tokenizer, fields[name])
        return spelled

    def _converted(self, value: object) -> object:
        if isinstance(value, Skeleton):  # its rules are no data, and know the whole vocabulary
            ruled = [[places.start, places.stop] for places, _ in value.ruled]
            return {"ids": list(value.ids), "exact": sorted(value.exact), "ruled": ruled}
        if is_dataclass(value):
            return self._with_spellings(_fields(value))
        return [self._converted(item) for item in value] if isinstance(value, (list, tuple)) else value

    def document(self, answer: Answer, options: Fields) -> dict[str, Any]:
        """Return the content of the trace file; `options` are the fields that the caller gave."""
        return {
            "format": FORMAT,
            "version": VERSION,
            "prompt": answer.prompt,
            "prompt_ids": answer.prompt_ids,
            "options": dict(options),
            **answer.timed_json(),
            "versions": {
                "planned_diffusion": __version__,
                "python": platform.python_version(),
                **{package: version(package) for package in PACKAGES},
            },
            "events": self.events,
        }


def _fields(value: Any) -> dict[str, Any]:  # noqa: ANN401  # any dataclass
    return {field.name: getattr(value, field.name) for field in fields_of(value)}


def _tokens(tokenizer: PreTrainedTokenizerBase, token_ids: Sequence[int]) -> dict[str, object]:
    texts = [read(tokenizer, [token], with_tags=True) for token in token_ids]
    return {"texts": texts, "text": read(tokenizer, token_ids, with_tags=True)}


# Field of an event -> the spellings that are recorded beside it.
SPELLERS: dict[str, Callable[[PreTrainedTokenizerBase, Any], dict[str, object]]] = {
    "token_id": lambda tokenizer, token: {"text": read(tokenizer, [token], with_tags=True)},
    "token_ids": _tokens,
    "topic_ids": lambda tokenizer, ids: {"topic": read(tokenizer, ids).strip()},
    "answer_ids": lambda tokenizer, ids: {"answer": read(tokenizer, ids)},
    "written_ids": lambda tokenizer, ids: {"written": read(tokenizer, ids, with_tags=True)},
}


def write_trace(path: Path, document: dict[str, Any]) -> None:
    """Write a trace file, whole or not at all."""
    write_whole(path, json.dumps(document, ensure_ascii=False) + "\n")


def write_whole(path: Path, text: str) -> None:
    """Write the whole file or nothing: an older file stays until the new one is complete."""
    path = path.expanduser().resolve()
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        partial.write_text(text, encoding="utf-8")
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
