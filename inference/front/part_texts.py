"""The parts of an answer with their texts, as far as they are written: in the order of reading, over all rounds."""

from typing import Any

from ..server.plan_forms import FinishedPart
from .planned_parts import PlannedPart, PlanSource, Round


class PartTexts:
    """The parts of the rounds that have begun. A part's number counts over all rounds, from 0.

    Args:
        source: the plan.

    Attributes:
        rounds: that have begun.
        texts: of their parts; None for one that is not written.
    """

    def __init__(self, source: PlanSource) -> None:
        self.source = source
        self.rounds: list[Round] = []
        self.texts: list[str | None] = []

    def begin(self, parts: Round) -> range:
        """Take in the next round, whose kept parts have their text; return the numbers of its parts."""
        first = len(self.texts)
        self.rounds.append(parts)
        self.texts += [part.text for part in parts]
        return range(first, len(self.texts))

    def place(self, number: int) -> tuple[int, int]:
        """Return the round of a part, and which part of it that is."""
        places = [(place, index) for place, parts in enumerate(self.rounds) for index in range(len(parts))]
        return places[number]

    def joined(self) -> str:
        """Return the answer's text up to the first part that is not written."""
        known = self.texts if None not in self.texts else self.texts[: self.texts.index(None)]
        return "".join(filter(None, known))

    def open_lengths(self) -> dict[int, int]:
        """Return the lengths of all parts of the plan that have no text, as far as it is known, by their numbers."""
        planned = [part for parts in self.source.rounds for part in parts]
        texts = [*self.texts, *(part.text for part in planned[len(self.texts) :])]
        return {number: part.length for number, part in enumerate(planned) if texts[number] is None}

    def finished(self, room: int) -> list[list[FinishedPart]]:
        """Return the parts of an answer of whose text so many characters were kept."""
        finished, texts = [], iter(self.texts)
        for parts in self.rounds:
            finished.append([])
            for part in parts:
                text = (next(texts) or "")[:room]
                finished[-1].append(FinishedPart(topic=part.topic, length=part.length, text=text))
                room -= len(text)
        return finished

    def kept(self) -> list[list[dict[str, Any]]]:
        """Return the plan with which a request can be sent again so that only the parts without a text are written."""
        texts = iter(self.texts)
        return [[_as_given(part, next(texts, part.text)) for part in parts] for parts in self.source.rounds]


def _as_given(part: PlannedPart, text: str | None) -> dict[str, Any]:
    """Return a part as a request gives it."""
    return {"topic": part.topic, "length": part.length} | ({} if text is None else {"text": text, "keep": True})
