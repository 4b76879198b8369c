"""The plan of an answer as clients get it: whole in the answer, or piece by piece in a stream.

    outline    a round is planned: topics and lengths
    part       the text of a part is final
    draft      the tokens of a round's parts as they stand

Parts come in the order in which they are finished. Each comes once; drafts only where they are asked for.
"""

from transformers import PreTrainedTokenizerBase

from ...generation.decoders.table import DECODERS
from ...generation.events import (
    Ended,
    Event,
    FinishedSpan,
    PlacedSpan,
    PlanDone,
    SpanClosed,
    TokensBlanked,
    TokensWritten,
)
from ...generation.live_state import LiveState
from ...generation.query import Request
from ...generation.sequences import read_topic
from ..answer import read
from .plan_forms import Draft, FinishedPart, Outline, Promise, WrittenPart

Told = Outline | WrittenPart | Draft


class PlanStream:
    """Folds a request's events into what is told of its plan.

    Args:
        reader: decodes token ids.
        request: the request.
        level: "none", "parts" or "drafts".
        early: a part may be told before the text in front of it is final; otherwise all come at the end.
    """

    def __init__(self, reader: PreTrainedTokenizerBase, request: Request, level: str, early: bool) -> None:
        self.reader, self.level = reader, level
        self._early = early and request.settings.refine_share == 0 and not DECODERS[request.settings.decoding].revises
        self._pads = request.control.all
        self._state = LiveState()
        self._news: list[Told] = []
        self._told: set[tuple[int, int]] = set()  # (round, part)
        self._draft: Told | None = None  # the latest one, as long as nobody has taken it

    @property
    def has_news(self) -> bool:
        """Whether something waits to be told."""
        return bool(self._news) or self._draft is not None

    def add(self, event: Event) -> None:
        """Take an event in."""
        if self.level == "none":
            return
        self._state.add(event)
        if isinstance(event, PlanDone):
            parts = [self._promised(span.topic_ids, span.length) for span in event.promises.spans]
            self._news.append(Outline(round=event.round, parts=parts))
        elif isinstance(event, SpanClosed) and event.span.topic_ids and self._early:
            ids = [token for token in event.token_ids if token not in self._pads]
            self._tell(event.round, event.span.index, read(self.reader, ids))
        elif isinstance(event, (TokensWritten, TokensBlanked)) and self.level == "drafts" and self._state.spans:
            self._draft = Draft(round=event.round, parts=[*map(self._tokens, self._state.spans)])

    def finish(self, rounds: list[list[FinishedPart]]) -> None:
        """Take in the plan of the finished answer; parts that were not told yet are told now."""
        self._draft = None
        if self.level == "none":
            return
        for number, parts in enumerate(rounds):
            for index, part in enumerate(parts):
                self._tell(number, index, part.text)

    def take(self) -> list[Told]:
        """Return what is to be told since the last call."""
        news, self._news = self._news, []
        if self._draft is not None:
            news.append(self._draft)
            self._draft = None
        return news

    def rounds(self, ended: Ended, length: int) -> list[list[FinishedPart]]:
        """Return the plan of a finished answer, of whose text so many characters were kept."""
        return [[self._finished(span, ended, length) for span in spans] for spans in ended.plans]

    def _finished(self, span: FinishedSpan, ended: Ended, length: int) -> FinishedPart:
        start = len(read(self.reader, ended.answer_ids[: span.start]))
        text = read(self.reader, ended.answer_ids[span.start : span.stop])[: max(0, length - start)]
        return FinishedPart(topic=read_topic(self.reader, span), length=span.length, text=text)

    def _promised(self, topic_ids: tuple[int, ...], length: int) -> Promise:
        return Promise(topic=read_topic(self.reader, FinishedSpan(topic_ids, length, 0, 0)), length=length)

    def _tell(self, number: int, index: int, text: str) -> None:
        if (number, index) not in self._told:
            self._told.add((number, index))
            self._news.append(WrittenPart(round=number, part=index, text=text))

    def _tokens(self, span: PlacedSpan) -> list[str | None]:
        """Return the tokens of a part, None where one is blank; pads and what follows the last one are left out."""
        ids = [self._state.tokens.get(position) for position in span.positions]
        return [None if token is None else read(self.reader, [token]) for token in ids if token not in self._pads]
