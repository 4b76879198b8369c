"""The parts of a replay page: their promises, and which token stood at each position after every forward."""

import re
from dataclasses import dataclass, field
from typing import Any

from ...generation.events import PlacedSpan
from ..shown_text import shown
from .spellings import Spellings

# Fields that go to the page as they are; page_data.py says what they mean.
TOLD = ("round", "topic", "length", "typed", "promised", "placed", "closed", "dropped", "kept", "commits", "drafts")


@dataclass(eq=False)
class PagePart:
    """A part of one run. Numbers of frames say when something happened, None that it did not.

    Attributes:
        plan_ids: the tokens of its promise so far.
        versions: by position, what was written there, or (None) a blank: (frame, token, score).
    """

    round: int
    topic: str = ""
    length: int = 0
    typed: list[list[Any]] = field(default_factory=list)
    promised: int | None = None
    placed: int | None = None
    closed: int | None = None
    dropped: int | None = None
    kept: bool = False
    commits: list[int] = field(default_factory=list)
    drafts: list[list[int]] = field(default_factory=list)
    plan_ids: list[int] = field(default_factory=list)
    versions: dict[int, list[tuple[int, int | None, float | None]]] = field(default_factory=dict)

    @property
    def is_open(self) -> bool:
        """Whether it waits for tokens."""
        return self.placed is not None and self.closed is None

    def type(self, frame: int, token: int, spellings: Spellings) -> None:
        """Take in a token of the promise; its number is no part of the topic."""
        self.plan_ids.append(token)
        topic = re.sub(r"\s*\d*\s*$", "", spellings.decode(self.plan_ids, skip_special_tokens=True))
        self.typed = [step for step in self.typed if step[0] != frame] + [[frame, shown(topic)]]

    def lay_out(self, frame: int, span: PlacedSpan, topic: str) -> None:
        """Give it the positions of its span, with the tokens that stand there already."""
        self.topic, self.length, self.placed = topic, len(span.positions), frame
        self.promised = frame if self.promised is None else self.promised
        self.typed = self.typed or [[frame, topic]]
        self.versions = {position: [] for position in span.positions}
        for position, token in span.given:
            self.versions[position].append((frame, token, None))
        self.kept = len(span.given) == len(span.positions)

    def data(self, spellings: Spellings) -> dict[str, Any]:
        """Return the part for the page."""
        return {**{name: getattr(self, name) for name in TOLD}, "cells": self._cells(spellings)}

    def _cells(self, spellings: Spellings) -> list[list[Any]]:
        """Return the versions of every position; a text is the one that it has beside its final neighbours."""
        positions = sorted(self.versions)
        last = [self.versions[position][-1][1] if self.versions[position] else None for position in positions]
        final = spellings.pieces([-1 if token is None else token for token in last])
        cells = []
        for position, last_token, last_text in zip(positions, last, final, strict=True):
            cell: list[Any] = []
            for frame, token, score in self.versions[position]:
                text: str | int | None = 0
                if token is None:
                    text = None
                elif token not in spellings.special:
                    text = shown(last_text if token == last_token else spellings.pieces([token])[0])
                cell += [frame, text, None if score is None else float(f"{score:.4g}")]
            cells.append(cell)
        return cells
