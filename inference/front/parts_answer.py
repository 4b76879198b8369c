"""An answer that is joined from parts, as a client is told of it while they are written.

Its text grows in the order of reading: a part is told once its text is final and so are all in front of it. Between two
parts stands a blank line, which belongs to the later one: the texts of the parts, joined, are the answer.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..server.plan_forms import FinishedPart, Outline, Promise, WrittenPart
from ..server.stop_texts import SettledText
from .outline_request import text_of, usage_of
from .part_texts import PartTexts
from .planned_parts import PlanSource, Round

SEPARATOR = "\n\n"


@dataclass
class TokenSums:
    """Tokens that were written: of the text, and of the outline."""

    text: int = 0
    plan: int = 0


class PlanNews:
    """Whatever waits to be told of the plan."""

    def __init__(self) -> None:
        self.waiting: list[Outline | WrittenPart] = []

    def take(self) -> list[Outline | WrittenPart]:
        """Return what is to be told since the last call."""
        news, self.waiting = self.waiting, []
        return news

    def tell(self, place: tuple[int, int], text: str) -> None:
        """Tell the text of a part: of a round, and which part of it."""
        self.waiting.append(WrittenPart(round=place[0], part=place[1], text=text))


class PartsAnswer:
    """An answer that is being written in parts.

    Args:
        source: its plan.
        stops: texts at which it ends.
        tells_plan: outlines and parts are told while it is written; with `stops` the parts at the end.
        tokens_left: that its text may have; None for no limit but the engine's own.
        counts_plan: its tokens are those of the plan as well; answers with one plan count it once.

    Attributes:
        written: its parts.
        settled: its text.
        lacks_room: no tokens were left for parts that were to be written.
        error: it failed with that.
    """

    likelihoods = None

    def __init__(
        self,
        source: PlanSource,
        stops: Sequence[str] = (),
        tells_plan: bool = False,
        tokens_left: int | None = None,
        counts_plan: bool = True,
    ) -> None:
        self.source, self.tokens_left, self.counts_plan = source, tokens_left, counts_plan
        self.plan, self.written, self.settled = PlanNews(), PartTexts(source), SettledText(stops)
        self.error: Exception | None = None
        self.lacks_room = False
        self._tells_plan, self._tells_early = tells_plan, tells_plan and not stops
        self._read_tokens = self._written_tokens = 0
        self._all_counted = True  # the engine told the tokens of every part
        self._reasons = set[object]()  # why parts have ended
        self._ended = False

    @property
    def counts(self) -> TokenSums | None:
        """Tokens that were written; None where the engine does not say."""
        plan = self.source.plan_tokens if self.counts_plan else 0
        return TokenSums(self._written_tokens, plan) if self._all_counted else None

    @property
    def prompt_tokens(self) -> int:
        """Tokens of all prompts."""
        return self._read_tokens + (self.source.prompt_tokens if self.counts_plan else 0)

    @property
    def is_over(self) -> bool:
        """Whether nothing more will come."""
        return self._ended or self.error is not None

    @property
    def has_news(self) -> bool:
        """Whether text or something of the plan waits to be taken."""
        return self.settled.has_news or bool(self.plan.waiting)

    @property
    def finish_reason(self) -> str | None:
        """The reason why it ended: "length" where a limit cut one of its parts, "content_filter" where a filter did."""
        if not self._ended:
            return None
        if not self.settled.is_stopped and (self.lacks_room or "length" in self._reasons):
            return "length"
        return "content_filter" if "content_filter" in self._reasons else "stop"

    def begin(self, parts: Round) -> None:
        """Take in the next round; parts that are kept have their text."""
        numbers = self.written.begin(parts)
        if self._tells_plan:
            promises = [Promise(topic=part.topic, length=part.length) for part in parts]
            self.plan.waiting.append(Outline(round=len(self.written.rounds) - 1, parts=promises))
        for number, part in zip(numbers, parts, strict=True):
            if part.text is not None and self._tells_early:
                self.plan.tell(self.written.place(number), part.text)
        self.settled.add(self.written.joined(), final=False)

    def finish_part(self, number: int, completion: dict[str, Any], share: int | None) -> None:
        """Take in a part's completion; `share` are the tokens that it had."""
        text = text_of(completion).strip()
        self.written.texts[number] = SEPARATOR + text if number and text else text
        self._reasons.add(completion["choices"][0].get("finish_reason"))
        used = usage_of(completion)
        self._all_counted = self._all_counted and used is not None
        read, written = used or (0, share or 0)
        self._read_tokens, self._written_tokens = self._read_tokens + read, self._written_tokens + written
        if self.tokens_left is not None:
            self.tokens_left = max(0, self.tokens_left - written)
        if self._tells_early:
            self.plan.tell(self.written.place(number), self.written.texts[number] or "")
        self.settled.add(self.written.joined(), final=False)

    def end(self) -> None:
        """Take in that no further part will come."""
        self.settled.add(self.written.joined(), final=True)
        self._ended = True
        if self._tells_plan and not self._tells_early:
            for number, part in enumerate(part for parts in self.parts() for part in parts):
                self.plan.tell(self.written.place(number), part.text)

    def take_text(self) -> str:
        """Return the text that has settled since the last call."""
        return self.settled.take()

    def take_likelihoods(self) -> list[dict[str, Any]]:
        """Return nothing: parts have no log-probabilities."""
        return []

    def parts(self) -> list[list[FinishedPart]]:
        """Return the plan of the finished answer: per round, per part, topic, length in tokens, and text."""
        return self.written.finished(len(self.settled.text))
