"""Trace files: every event of one answer, in order, as JSON that a replay can read without tokenizer or model.

    {
      "format": "planned-diffusion-trace", "version": 1,
      "prompt": "...", "prompt_ids": [...], "options": {...},            fields that the caller gave to generate
      "text", "plans", "counts", "seconds", "ended", "model", "decoding"   as in the object of `generate --json`
      "versions": {"planned_diffusion", "python", "torch", "transformers", "tokenizers"},
      "events": [{"event": "PlanToken", "at_seconds": 0.04, "round": 0, "position": 17, "token_id": 9, "text": "cap"},
                 ...]
    }

An event is a dataclass of generation/trace.py: `event` is its name, its fields follow, `at_seconds` counts from the
start of generation. Beside token ids stands what they spell, control tokens included:

    token_id                 text    the token alone
    token_ids                texts   each token alone (a part of a character reads as U+FFFD)
                             text    all of them; in `Text` events what they complete: one after the other, these
                                     are the answer's prose
    topic_ids                topic   without the space at its end
    answer_ids, written_ids  answer, written

Positions count from the prompt's first token. A change that readers must know of raises `version`.
"""

import json
import os
import platform
import time
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path

from .. import __version__
from ..generation.events import Text
from .answer import Answer, Prose, read

FORMAT, VERSION = "planned-diffusion-trace", 1


class Recording:
    """Collects the events of one answer; pass `add` to `answer.ask` as a listener."""

    def __init__(self, tokenizer):
        self.tokenizer = tokenizer
        self.events: list[dict] = []
        self._prose = Prose(tokenizer)
        self._started = time.perf_counter()

    def add(self, index: int, event) -> None:
        at_seconds = round(time.perf_counter() - self._started, 6)
        fields = self._spelled(asdict(event))
        if isinstance(event, Text):
            fields["text"] = self._prose.add(event.token_ids)
        self.events.append({"event": type(event).__name__, "at_seconds": at_seconds, **fields})

    def _spelled(self, value):
        """Dictionaries with what their token ids spell, at every depth; tuples become lists."""
        if isinstance(value, (list, tuple)):
            return [self._spelled(item) for item in value]
        if not isinstance(value, dict):
            return value
        spelled = {name: self._spelled(item) for name, item in value.items()}
        for name in value.keys() & SPELLERS.keys():
            spelled |= SPELLERS[name](self.tokenizer, value[name])
        return spelled

    def document(self, answer: Answer, options: dict) -> dict:
        packages = ("torch", "transformers", "tokenizers")
        return {
            "format": FORMAT,
            "version": VERSION,
            "prompt": answer.prompt,
            "prompt_ids": answer.prompt_ids,
            "options": options,
            **answer.as_json(),
            "versions": {
                "planned_diffusion": __version__,
                "python": platform.python_version(),
                **{package: version(package) for package in packages},
            },
            "events": self.events,
        }


def _tokens(tokenizer, token_ids) -> dict:
    texts = [read(tokenizer, [token], with_tags=True) for token in token_ids]
    return {"texts": texts, "text": read(tokenizer, token_ids, with_tags=True)}


SPELLERS = {
    "token_id": lambda tokenizer, token: {"text": read(tokenizer, [token], with_tags=True)},
    "token_ids": _tokens,
    "topic_ids": lambda tokenizer, ids: {"topic": read(tokenizer, ids).strip()},
    "answer_ids": lambda tokenizer, ids: {"answer": read(tokenizer, ids)},
    "written_ids": lambda tokenizer, ids: {"written": read(tokenizer, ids, with_tags=True)},
}


def write(path: Path, document: dict) -> None:
    """Writes the whole file or nothing: what was there before stays until the new file is complete."""
    path = path.expanduser().resolve()
    partial = _partial(path)
    try:
        partial.write_text(json.dumps(document, ensure_ascii=False) + "\n", encoding="utf-8")
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def _partial(path: Path) -> Path:
    return path.with_name(f".{path.name}.{os.getpid()}")
