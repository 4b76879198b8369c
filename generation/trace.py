"""The trace of one request: how many forwards it took, of which kinds, and, if wanted, every step."""

import time
from dataclasses import dataclass, field

from .events import DraftsChecked, Event, Forward, Text, TokensWritten


@dataclass(frozen=True)
class Trace:
    """Counts of one request.

    Attributes:
        forwards: forwards that it took part in = planning + denoising + decoding + scoring.
        planning, denoising, decoding: forwards that drew plan tokens, wrote into blanks, wrote text left to right.
        commits: rounds whose spans ran once more with their final tokens, in a forward that is counted above.
        critical_path: forwards that had to run one after another. Commits ride along, so it equals `forwards`
            (arXiv 2510.18087, section 4, counts plan tokens and the steps of each round's longest span).
        tokens: tokens of text written, without pads, plan and tags.
        tokens_run: tokens that went through the model, prompt included.
        seconds: from its admission to its end.
        scoring: forwards that judged a draft, of the model itself or of an assistant.
        drafts_checked: how often a guess at each offset was checked, first the guess of the next token.
        drafts_accepted: how often it was right, and all before it were.
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
    drafts_checked: tuple[int, ...] = ()
    drafts_accepted: tuple[int, ...] = ()


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
    drafts_checked: list[int] = field(default_factory=list)
    drafts_accepted: list[int] = field(default_factory=list)
    started: float = field(default_factory=time.perf_counter)

    def add(self, event: Event) -> None:
        """Count an event."""
        if isinstance(event, Forward):
            self.counts[event.purpose] += 1
            self.commits += event.commits
            self.tokens_run += event.tokens
        elif isinstance(event, TokensWritten) and self.keep_steps:
            self.steps.append(event)
        elif isinstance(event, Text):
            self.tokens += len(event.token_ids)
        elif isinstance(event, DraftsChecked):
            for offered, accepted in zip(event.offered, event.accepted, strict=True):
                _count(self.drafts_checked, offered)
                _count(self.drafts_accepted, accepted)

    def trace(self) -> Trace:
        """Return the counts so far; the clock stops here."""
        forwards = sum(self.counts.values())
        return Trace(
            forwards=forwards,
            **self.counts,
            commits=self.commits,
            critical_path=forwards,
            tokens=self.tokens,
            tokens_run=self.tokens_run,
            seconds=time.perf_counter() - self.started,
            steps=tuple(self.steps),
            drafts_checked=tuple(self.drafts_checked),
            drafts_accepted=tuple(self.drafts_accepted),
        )


def _count(by_offset: list[int], guesses: int) -> None:
    """Add one at each of the first offsets."""
    by_offset += [0] * (guesses - len(by_offset))
    for offset in range(guesses):
        by_offset[offset] += 1
