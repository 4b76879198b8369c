"""The frames of an answer: how a page changes with every forward, folded from the one stream of events.

A frame is a JSON text, {"at": seconds, "forwards": so far, "changes": [[kind, ...], ...]}:

    plan      text                           the outline goes on being drafted
    outline   round, parts                   a round is planned; a part is {topic, length, start, stop, given}
    blanks    round, parts                   blanks are laid out without a plan
    write     positions, texts, scores       tokens are written; "" stands for a pad
    blank     positions                      tokens are taken back
    closed    round, part, text              the text of a part is final
    text      text                           the answer grew, in reading order
    drafts    offered, accepted              guesses were checked
    end       reason, text, rest, counts, felt   the answer; what follows its last part; its trace's numbers

`given` holds [position, text] of tokens that stand before anything is written. Frames are texts so that a list of them
is compared and sent quickly.
"""

import json
from collections.abc import Callable, Sequence
from typing import Any

from transformers import PreTrainedTokenizerBase

from ..generation.events import (
    BlanksPlaced,
    DraftsChecked,
    Ended,
    Event,
    FinishedSpan,
    Forward,
    PlacedSpan,
    PlanDone,
    PlanShortened,
    PlanToken,
    SpanClosed,
    Text,
    TokensBlanked,
    TokensWritten,
)
from ..generation.live_state import LiveState
from ..generation.query import Request
from ..generation.sequences import read_topic
from ..generation.trace import Trace
from ..inference.answer import Prose, read

COUNTS = ("forwards", "planning", "denoising", "decoding", "scoring", "tokens")
Change = list[Any]


class Frames:
    """Folds the events of one request into frames.

    Args:
        reader: decodes token ids.
        request: the request.

    Attributes:
        texts: the frames so far.
    """

    def __init__(self, reader: PreTrainedTokenizerBase, request: Request) -> None:
        self.reader = reader
        self.texts: list[str] = []
        self.forwards = 0
        self._hidden = request.control.all
        self._state = LiveState()
        self._prose = Prose(reader)

    def add(self, events: Sequence[Event], seconds: float) -> None:
        """Take in the events of a forward, `seconds` after the answer was asked for."""
        changes = [change for event in events if (change := self._change(event)) is not None]
        if changes:
            self._append(changes, seconds)

    def end(self, ended: Ended, text: str, trace: Trace, seconds: float) -> None:
        """Add the last frame.

        Args:
            text: the whole answer.
            trace: its counts.
        """
        stop = max((span.stop for spans in ended.plans for span in spans), default=None)
        rest = "" if stop is None else read(self.reader, ended.answer_ids[stop:]).strip()
        counts = {name: getattr(trace, name) for name in COUNTS}
        self._append([["end", ended.reason, text, rest, counts, trace.felt.as_json()]], seconds)

    def _append(self, changes: list[Change], seconds: float) -> None:
        frame = {"at": round(seconds, 4), "forwards": self.forwards, "changes": changes}
        self.texts.append(json.dumps(frame, ensure_ascii=False))

    def _change(self, event: Event) -> Change | None:
        """Return the change that an event makes; None where nothing is to be seen."""
        self._state.add(event)
        if isinstance(event, Forward):
            self.forwards += 1
        change = CHANGES.get(type(event))
        return None if change is None else change(self, event)

    def _plan(self, event: PlanToken | PlanShortened) -> Change:
        return ["plan", read(self.reader, [token for token in self._state.plan_ids if token not in self._hidden])]

    def _placed(self, event: PlanDone | BlanksPlaced) -> Change:
        if isinstance(event, PlanDone):
            kind, lengths = "outline", [span.length for span in event.promises.spans]
        else:
            kind, lengths = "blanks", [len(span.positions) for span in event.spans]
        return [kind, event.round, [*map(self._part, event.spans, lengths)]]

    def _write(self, event: TokensWritten) -> Change | None:
        if not self._state.spans:  # left to right: the text says it
            return None
        scores = [round(score, 4) for score in event.scores]
        return ["write", event.positions, [*map(self._spelled, event.token_ids)], scores]

    def _closed(self, event: SpanClosed) -> Change | None:
        if not event.span.topic_ids:
            return None
        ids = [token for token in event.token_ids if token not in self._hidden]
        return ["closed", event.round, event.span.index, read(self.reader, ids)]

    def _text(self, event: Text) -> Change | None:
        new = self._prose.add(event.token_ids)
        return ["text", new] if new else None

    def _part(self, span: PlacedSpan, length: int) -> dict[str, Any]:
        return {
            "topic": read_topic(self.reader, FinishedSpan(span.topic_ids, length, 0, 0)) if span.topic_ids else "",
            "length": length,
            "start": span.start,
            "stop": span.stop,
            "given": [(position, self._spelled(token)) for position, token in span.given],
        }

    def _spelled(self, token: int) -> str:
        return "" if token in self._hidden else read(self.reader, [token])


CHANGES: dict[type, Callable[[Frames, Any], Change | None]] = {
    PlanToken: Frames._plan,
    PlanShortened: Frames._plan,
    PlanDone: Frames._placed,
    BlanksPlaced: Frames._placed,
    TokensWritten: Frames._write,
    TokensBlanked: lambda frames, event: ["blank", event.positions],
    SpanClosed: Frames._closed,
    Text: Frames._text,
    DraftsChecked: lambda frames, event: ["drafts", event.offered, event.accepted],
}
