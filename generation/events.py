"""What happened, step by step: the one event stream that streamers, traces, live views and servers read.

Positions count from the prompt's first token, left padding aside. A request's events come in this order:

    Forward, PlanToken ...           one of each per planning token
    PlanDone                         the spans of the round and where they lie (BlanksPlaced: blanks without a plan)
    Forward, TokensWritten ...       one of each per denoising step (or per token, left to right)
    SpanClosed, RoundClosed          ... and the next round, or
    Ended                            (in place of any of these Failed, after which nothing comes)

`Text` comes whenever the final text grew, in reading order, whatever the order of writing.
"""

from dataclasses import dataclass

from .plan import Round


@dataclass(frozen=True)
class Forward:
    """The request took part in a forward: `purpose` as in `Query`, `tokens` of its own that were run."""

    purpose: str
    tokens: int
    commits: bool


@dataclass(frozen=True)
class PlanToken:
    round: int
    position: int
    token_id: int


@dataclass(frozen=True)
class PlacedSpan:
    """A span of the canvas: blanks at `start` up to, not including, `stop`; but what is `given` (position, token)."""

    index: int
    topic_ids: tuple[int, ...]
    start: int
    stop: int
    given: tuple[tuple[int, int], ...] = ()

    @property
    def positions(self) -> range:
        return range(self.start, self.stop)

    def gap_stop(self, position: int) -> int:
        """Where the gap around a blank ends: at the next token that was given, or with the span."""
        return next((place for place, _ in self.given if place > position), self.stop)


@dataclass(frozen=True)
class BlanksPlaced:
    """Blanks laid out without a plan: a whole answer, or its next block."""

    round: int
    spans: tuple[PlacedSpan, ...]


@dataclass(frozen=True)
class PlanDone:
    round: int
    plan: Round
    spans: tuple[PlacedSpan, ...]


@dataclass(frozen=True)
class TokensWritten:
    """Positions in ascending order, what was written there, and the scores that chose them."""

    round: int
    positions: tuple[int, ...]
    token_ids: tuple[int, ...]
    scores: tuple[float, ...]


@dataclass(frozen=True)
class TokensBlanked:
    """What was written there is taken back, to be written again."""

    round: int
    positions: tuple[int, ...]
    token_ids: tuple[int, ...]


@dataclass(frozen=True)
class SpanClosed:
    round: int
    span: PlacedSpan
    token_ids: tuple[int, ...]


@dataclass(frozen=True)
class RoundClosed:
    round: int


@dataclass(frozen=True)
class Text:
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
    """`reason`: "eos", "length" (no room left) or "stop" (a stopping criterion, or cancelled).

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


EVENTS = (
    Forward, PlanToken, PlanDone, BlanksPlaced, TokensWritten, TokensBlanked, SpanClosed, RoundClosed, Text, Ended,
    Failed,
)  # fmt: skip
