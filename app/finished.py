"""Answers that pages have shown: the latest ones are remembered, to be edited or downloaded."""

import secrets
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..inference.answer import Fields, Prompt
from .page_answer import PageAnswer

MOST_REMEMBERED = 200


@dataclass(frozen=True)
class Finished:
    """Answers to one prompt, each with the fields that it was asked for with: the one of the page, then the others."""

    prompt: Prompt
    answers: Sequence[PageAnswer]
    fields: Sequence[Fields]

    def documents(self) -> list[dict[str, Any]]:
        """Return the trace file of every answer."""
        pairs = zip(self.answers, self.fields, strict=True)
        return [answer.document(self.prompt, fields) for answer, fields in pairs]


class Remembered:
    """The latest finished answers, by a name that nobody can guess."""

    def __init__(self, most: int = MOST_REMEMBERED) -> None:
        self.most = most
        self._finished: OrderedDict[str, Finished] = OrderedDict()

    def __len__(self) -> int:
        return len(self._finished)

    def add(self, finished: Finished) -> str:
        """Remember answers and return their name; the oldest ones are forgotten."""
        name = secrets.token_urlsafe(16)
        self._finished[name] = finished
        while len(self._finished) > self.most:
            self._finished.popitem(last=False)
        return name

    def find(self, name: object) -> Finished:
        """Return the answers of that name.

        Raises:
            ValueError: there are none, or they were forgotten.
        """
        found = self._finished.get(name) if isinstance(name, str) else None
        if found is None:
            raise ValueError("This answer is not remembered any more; ask again.")
        return found
