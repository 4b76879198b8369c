"""The events of a request: the one stream that streamers, traces, live views and servers read.

Positions count from the prompt's first token, left padding aside. A request's events come in this order:

    Forward, PlanToken ...           one of each per planning token
    PlanShortened                    only where a promise does not fit: its tokens are taken back
    PlanDone                         the spans of the round and where they lie (BlanksPlaced: blanks without a plan)
    Forward, TokensWritten ...       one of each per denoising step (or per token, left to right; behind a forward that
                                     checked guesses DraftsChecked, then the tokens that were right and one more)
    SpanClosed, RoundClosed          ... and the next round, or
    (RowsScored stands behind every Forward of a request that asked for log-probabilities)
    Ended                            (in place of any of these Failed, after which nothing comes)

`Text` comes whenever the final text grew, in reading order, whatever the order of writing.
"""

from collections.abc import Generator
from dataclasses import dataclass
from typing import get_args

from .plan import Round
from .query import Query, Reply


@dataclass(frozen=True)
class Forward:
    """The request took part in a forward: `purpose` as in `Query`, `tokens` of its own that were run."""

    purpose: str
    tokens: int
    commits: bool


@dataclass(frozen=True)
class PlanToken:
    """A token of the plan was drawn."""

    round: int
    position: int
    token_id: int


@dataclass(frozen=True)
class PlanShortened:
    """The last tokens of the plan were taken back: a promise that the room cannot hold."""

    round: int
    positions: tuple[int, ...]
    token_ids: tuple[int, ...]


@dataclass(frozen=True)
class PlacedSpan:
    """A span of the canvas: blanks from `start` up to, not including, `stop`, except for `given` (position, token).

    `opening` tokens stand before its content (plan.py, `opening_of`).
    """

    index: int
    topic_ids: tuple[int, ...]
    start: int
    stop: int
    given: tuple[tuple[int, int], ...] = ()
    opening: int = 1

    @property
    def positions(self) -> range:
        """Positions of its content."""
        return range(self.start, self.stop)

    @property
    def extent(self) -> range:
        """Positions of a span with its opening and its closing tag."""
        return range(self.start - self.opening, self.stop + 1)

    @property
    def opened(self) -> range:
        """Positions of its opening."""
        return range(self.start - self.opening, self.start)

    def gap_stop(self, position: int) -> int:
        """Return where the gap around a blank ends: at the next given token, or with the span."""
        return next((place for place, _ in self.given if place > position), self.stop)


@dataclass(frozen=True)
class BlanksPlaced:
    """Blanks laid out without a plan: a whole answer, or its next block."""

    round: int
    spans: tuple[PlacedSpan, ...]


@dataclass(frozen=True)
class PlanDone:
    """The promises of a round are complete, and its spans are laid out."""

    round: int
    promises: Round
    spans: tuple[PlacedSpan, ...]


@dataclass(frozen=True)
class TokensWritten:
    """Tokens were written: their positions, ascending, and the scores that chose them."""

    round: int
    positions: tuple[int, ...]
    token_ids: tuple[int, ...]
    scores: tuple[float, ...]


@dataclass(frozen=True)
class TokensBlanked:
    """Written tokens were taken back, to be written again; `token_ids` are the old ones."""

    round: int
    positions: tuple[int, ...]
    token_ids: tuple[int, ...]


@dataclass(frozen=True)
class DraftsChecked:
    """Guesses were checked: how many each open part had, and how many of them, from the first on, were right."""

    round: int
    offered: tuple[int, ...]
    accepted: tuple[int, ...]


@dataclass(frozen=True)
class RowsScored:
    """Tokens were drawn for positions; the decoder has not written any yet. Only where `Sampling.top_logprobs` is set.

    logprobs: of the tokens, at temperature 1, among those allowed there, before top_k and top_p.
    alternatives: (token, logprob) of the likeliest, for each position.
    """

    positions: tuple[int, ...]
    token_ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    alternatives: tuple[tuple[tuple[int, float], ...], ...]


@dataclass(frozen=True)
class SpanClosed:
    """A span has no blanks left; `token_ids` is its content, pads included."""

    round: int
    span: PlacedSpan
    token_ids: tuple[int, ...]


@dataclass(frozen=True)
class RoundClosed:
    """All spans of a round are filled."""

    round: int


@dataclass(frozen=True)
class Text:
    """The final text grew by these tokens."""

    token_ids: tuple[int, ...]


@dataclass(frozen=True)
class FinishedSpan:
    """A span of the finished answer: `length` tokens were promised, its text stands at `start` up to `stop`.

    `topic` is None where no tokenizer was at hand to read `topic_ids`.
    """

    topic_ids: tuple[int, ...]
    length: int
    start: int
    stop: int
    topic: str | None = None


@dataclass(frozen=True)
class Ended:
    """`reason`: "eos", "length" (no room for all that was begun) or "stop" (a stopping criterion, or cancelled).

    answer_ids is the answer as prose, EOS included if it was written; written_ids has plan and tags as well. The spans
    of `plans` (per round) count their text range in answer_ids, those of `written_plans` in written_ids.
    """

    reason: str
    answer_ids: tuple[int, ...]
    written_ids: tuple[int, ...]
    plans: tuple[tuple[FinishedSpan, ...], ...] = ()
    written_plans: tuple[tuple[FinishedSpan, ...], ...] = ()


@dataclass(frozen=True)
class Failed:
    """The request raised an error and has left the engine; the others go on."""

    error: Exception


Event = (
    Forward
    | PlanToken
    | PlanShortened
    | PlanDone
    | BlanksPlaced
    | TokensWritten
    | TokensBlanked
    | DraftsChecked
    | RowsScored
    | SpanClosed
    | RoundClosed
    | Text
    | Ended
    | Failed
)
EVENTS = get_args(Event)
# A decoder at work: it yields queries, each answered by a Reply, and events, which are passed on.
Decoding = Generator[Query | Event, Reply, None]
