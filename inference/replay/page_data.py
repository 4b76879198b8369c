"""Fold a recorded answer into the data of a replay page: which token stood where after every forward.

A frame is the state after a forward; frame 0 is that before the first one. Per run:

    name, model, prompt, text        as in the trace; the answer has come to its end where `whole` is true
    ended, tokens, seconds, felt     felt: seconds to the first outline word, the first and the last final word
    forwards    [purpose, tokens run, whether a round is committed, milliseconds]        from frame 1 on
    outline     [frame, guesses offered, guesses accepted]                               of the plan
    parts       {round, topic, length, typed, promised, placed, closed, dropped, kept, commits, drafts, cells}
      typed     [frame, text]: the topic as it is drawn
      cells     per position frame, text, score, again and again; text: null for a blank, 0 for padding
      drafts    [frame, guesses offered, guesses accepted]

Text outside the parts of a plan is a part without a topic. All texts are made safe by `shown`.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from ...generation.events import (
    BlanksPlaced,
    DraftsChecked,
    Forward,
    PlanDone,
    PlanShortened,
    PlanToken,
    SpanClosed,
    TokensBlanked,
    TokensWritten,
)
from ...generation.tokens import SPELLING
from ..shown_text import shown
from .page_parts import PagePart
from .spellings import Spellings
from .trace_reading import RecordedRun

PROMISE, TOPIC_END = SPELLING["promise_start_token_id"], SPELLING["topic_end_token_id"]


@dataclass
class PageRun:
    """The state of the fold.

    Attributes:
        text: the part of all text outside a plan, once there is any.
        places: the part of each position.
    """

    spellings: Spellings
    forwards: list[list[Any]] = field(default_factory=list)
    outline: list[list[int]] = field(default_factory=list)
    parts: list[PagePart] = field(default_factory=list)
    text: PagePart | None = None
    places: dict[int, PagePart] = field(default_factory=dict)

    @property
    def frame(self) -> int:
        """The frame that events belong to now."""
        return len(self.forwards)

    def promised(self, number: int) -> list[PagePart]:
        """Return the parts of a round that wait to be laid out."""
        waiting = (part for part in self.parts if part.placed is None and part.dropped is None)
        return [part for part in waiting if part.round == number]

    def part_at(self, position: int, number: int) -> PagePart:
        """Return the part that a position lies in; one outside a plan joins the text."""
        if position not in self.places:
            if self.text is None:
                self.text = PagePart(number, placed=self.frame)
                self.parts.append(self.text)
            self.text.versions[position] = []
            self.text.length += 1
            self.places[position] = self.text
        return self.places[position]

    def write(self, position: int, number: int, token: int | None, score: float | None) -> None:
        """Note that a token was written at a position, or (None) a blank."""
        self.part_at(position, number).versions[position].append((self.frame, token, score))


def page_run(run: RecordedRun) -> dict[str, Any]:
    """Return the data of a run, ready for JSON."""
    fold = PageRun(run.spellings)
    for at_seconds, event in run.events:
        if isinstance(event, Forward):
            _forward(fold, event, at_seconds)
        elif type(event) in STEPS:
            STEPS[type(event)](fold, event)
    document = run.document
    return {
        "name": shown(str(document.get("decoding", ""))),
        "model": shown(str(document.get("model", ""))),
        "prompt": shown(_prompt_text(document.get("prompt", ""))),
        "text": shown(str(document.get("text", ""))),
        "ended": shown(str(document.get("ended", ""))),
        "whole": run.is_whole,
        "tokens": _number(document.get("counts"), "tokens"),
        "seconds": _number(document, "seconds"),
        "felt": run.felt().as_json(),
        "forwards": fold.forwards,
        "outline": fold.outline,
        "parts": [part.data(run.spellings) for part in fold.parts],
    }


def _forward(fold: PageRun, event: Forward, at_seconds: float) -> None:
    """Begin a frame; a forward that commits does so for the parts that are done and have not been committed."""
    fold.forwards.append([event.purpose, event.tokens, int(event.commits), round(1000 * at_seconds, 1)])
    for part in fold.parts if event.commits else ():
        if part is fold.text:
            part.commits.append(fold.frame)
        elif part.closed is not None and not part.commits:
            part.commits = [fold.frame]


def _plan(fold: PageRun, event: PlanToken) -> None:
    spelled = fold.spellings.alone.get(event.token_id, "")
    if spelled == PROMISE:
        fold.parts.append(PagePart(event.round))
        return
    for part in [part for part in fold.promised(event.round) if part.promised is None][-1:]:
        if spelled == TOPIC_END:
            part.promised = fold.frame
        else:
            part.type(fold.frame, event.token_id, fold.spellings)


def _shorten(fold: PageRun, event: PlanShortened) -> None:
    for part in fold.promised(event.round)[-1:]:
        part.dropped = fold.frame


def _lay_out(fold: PageRun, event: PlanDone) -> None:
    parts = fold.promised(event.round)
    for part in parts[len(event.spans) :]:
        part.dropped = fold.frame
    new = [PagePart(event.round) for _ in event.spans[len(parts) :]]
    fold.parts += new
    for part, span in zip([*parts, *new], event.spans, strict=False):
        part.lay_out(fold.frame, span, shown(fold.spellings.decode(span.topic_ids).strip()))
        fold.places |= dict.fromkeys(span.positions, part)


def _place_blanks(fold: PageRun, event: BlanksPlaced) -> None:
    for span in event.spans:
        for position in span.positions:
            fold.write(position, event.round, None, None)
        for position, token in span.given:
            fold.write(position, event.round, token, None)


def _write(fold: PageRun, event: TokensWritten) -> None:
    for position, token, score in zip(event.positions, event.token_ids, event.scores, strict=True):
        fold.write(position, event.round, token, score)


def _take_back(fold: PageRun, event: TokensBlanked) -> None:
    for position in event.positions:
        fold.write(position, event.round, None, None)


def _check_drafts(fold: PageRun, event: DraftsChecked) -> None:
    """Give the checked guesses to the parts that are open, in their order; before, those of the plan."""
    pairs = zip(event.offered, event.accepted, strict=True)
    filling = [part for part in fold.parts if part.is_open and part is not fold.text]
    if not filling and fold.text is not None:
        filling = [fold.text]
    rows = [part.drafts for part in filling] or [fold.outline]
    for row, (offered, accepted) in zip(rows, pairs, strict=False):
        if offered:
            row.append([fold.frame, offered, accepted])


def _close(fold: PageRun, event: SpanClosed) -> None:
    for part in {fold.places[position] for position in event.span.positions if position in fold.places} - {fold.text}:
        part.closed = fold.frame


STEPS: dict[type, Callable[[PageRun, Any], None]] = {
    PlanToken: _plan,
    PlanShortened: _shorten,
    PlanDone: _lay_out,
    BlanksPlaced: _place_blanks,
    TokensWritten: _write,
    TokensBlanked: _take_back,
    DraftsChecked: _check_drafts,
    SpanClosed: _close,
}


def _prompt_text(prompt: object) -> str:
    """Return a prompt as text: of a chat, its last message."""
    if not isinstance(prompt, list):
        return str(prompt)
    contents = [message.get("content", "") for message in prompt if isinstance(message, dict)]
    return "\n\n".join(str(content) for content in contents[-1:])


def _number(document: object, name: str) -> float | None:
    value = document.get(name) if isinstance(document, dict) else None
    return value if isinstance(value, (int, float)) and not isinstance(value, bool) else None
