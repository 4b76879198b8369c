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

from .generation_events import Forward, Text, TokensWritten


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
