"""What happened, step by step: the one event stream that streamers, traces, live views and servers read.

Positions count from the prompt's first token, left padding aside. A request's events come in this order:

    Forward, PlanToken ...           one of each per planning token
    PlanDone                         the spans of the round and where they lie (BlanksPlaced: blanks without a plan)
    Forward, TokensWritten ...       one of each per denoising step (or per token, left to right)
    SpanClosed, RoundClosed          ... and the next round, or
    Ended                            (in place of any of these Failed, after which nothing comes)

`Text` comes whenever the final text grew, in reading order, whatever the order of writing.
"""

import time
from dataclasses import dataclass, field

from .generation_plan import Round


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


@dataclass(frozen=True)
class Trace:
    """Counts of one request.

    forwards: forwards that it took part in = planning + denoising + decoding + scoring.
    planning, denoising, decoding: forwards that drew a plan token, wrote into blanks, wrote text left to right.
    scoring: forwards that judged a draft, of the model itself or of an assistant.
    commits: rounds whose spans were run once more with their final tokens (they ride in a forward counted above).
    critical_path: tokens of the plan that were drawn, plus the steps of the longest span of each round, plus tokens
        written left to right: what no parallelism removes (arXiv 2510.18087, section 4).
    tokens: tokens of text written, without pads, plan and tags.
    tokens_run: tokens that went through the model, prompt included.
    seconds: from its admission to its end.
    steps: every denoising step (or token, left to right), with `output_trace=True`.
    """

    forwards: int
    planning: int
    denoising: int
    decoding: int
    commits: int
    critical_path: int
    tokens: int
    tokens_run: int
    seconds: float
    steps: tuple[TokensWritten, ...] = ()
    scoring: int = 0


PURPOSES = ("planning", "denoising", "decoding", "scoring")


@dataclass
class TraceRecorder:
    """Folds a request's events into its `Trace`."""

    keep_steps: bool = False
    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(PURPOSES, 0))
    commits: int = 0
    tokens: int = 0
    tokens_run: int = 0
    steps: list[TokensWritten] = field(default_factory=list)
    started: float = field(default_factory=time.perf_counter)

    def add(self, event) -> None:
        if isinstance(event, Forward):
            self.counts[event.purpose] += 1
            self.commits += event.commits
            self.tokens_run += event.tokens
        elif isinstance(event, TokensWritten) and self.keep_steps:
            self.steps.append(event)
        elif isinstance(event, Text):
            self.tokens += len(event.token_ids)

    def trace(self) -> Trace:
        forwards = sum(self.counts.values())
        return Trace(
            forwards=forwards,
            **self.counts,
            commits=self.commits,
            critical_path=forwards,  # commits ride along, so every forward lies on the critical path
            tokens=self.tokens,
            tokens_run=self.tokens_run,
            seconds=time.perf_counter() - self.started,
            steps=tuple(self.steps),
        )


@dataclass
class Board:
    """Folds a request's events into what a viewer shows: the plan as drawn, the spans as they fill, the final text."""

    plan_ids: list[int] = field(default_factory=list)
    spans: list[PlacedSpan] = field(default_factory=list)
    tokens: dict[int, int] = field(default_factory=dict)  # written positions
    text_ids: list[int] = field(default_factory=list)

    def add(self, event) -> None:
        if isinstance(event, PlanToken):
            self.plan_ids.append(event.token_id)
        elif isinstance(event, (PlanDone, BlanksPlaced)):
            self.plan_ids, self.spans = [], list(event.spans)
            self.tokens |= {position: token for span in event.spans for position, token in span.given}
        elif isinstance(event, TokensWritten):
            self.tokens |= dict(zip(event.positions, event.token_ids, strict=True))
        elif isinstance(event, TokensBlanked):
            for position in event.positions:
                del self.tokens[position]
        elif isinstance(event, RoundClosed):
            self.spans = []
        elif isinstance(event, Text):
            self.text_ids += event.token_ids

    def draft(self, blank: int) -> list[int]:
        """Tokens of the round's spans that are not final yet, `blank` where nothing is written."""
        tokens = [self.tokens.get(position, blank) for span in self.spans for position in span.positions]
        first_blank = tokens.index(blank) if blank in tokens else len(tokens)
        return tokens[first_blank:]
