"""The trace of one request: how many forwards it took, of which kinds, and, if wanted, every step."""

import time
from dataclasses import dataclass, field, replace

from .events import Decoding, DraftsChecked, Event, Forward, PlanDone, PlanToken, Text, TokensWritten


@dataclass
class Felt:
    """Seconds that a reader feels: from the start to what can be read first and last, None for what never came.

    Attributes:
        first_outline_word: to the first word of a topic; with a plan that was given, to the outline as a whole.
        first_final_word: to the first text that stays.
        last_word: to the last text.
    """

    first_outline_word: float | None = None
    first_final_word: float | None = None
    last_word: float | None = None
    _in_promise: bool = field(default=False, init=False, repr=False)  # a tag stands in front of the first topic

    def add(self, event: Event, seconds: float) -> None:
        """Take in an event that came after so many seconds."""
        is_outline = isinstance(event, PlanDone) or (isinstance(event, PlanToken) and self._in_promise)
        self._in_promise = self._in_promise or isinstance(event, PlanToken)
        if is_outline and self.first_outline_word is None:
            self.first_outline_word = seconds
        if isinstance(event, Text):
            self.first_final_word = seconds if self.first_final_word is None else self.first_final_word
            self.last_word = seconds

    def as_json(self) -> dict[str, float | None]:
        """Return the seconds by name."""
        return {name: getattr(self, name) for name in ("first_outline_word", "first_final_word", "last_word")}


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
        felt: when its first and last words came.
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
    felt: Felt = field(default_factory=Felt, compare=False)


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
    felt: Felt = field(default_factory=Felt)
    started: float = field(default_factory=time.perf_counter)

    def timed(self, decoder: Decoding) -> Decoding:
        """Pass a decoder on; the clock starts when the engine admits it, in front of its first forward."""
        self.started = time.perf_counter()
        yield from decoder

    def add(self, event: Event) -> None:
        """Count an event."""
        self.felt.add(event, time.perf_counter() - self.started)
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
            felt=replace(self.felt),
        )


def _count(by_offset: list[int], guesses: int) -> None:
    """Add one at each of the first offsets."""
    by_offset += [0] * (guesses - len(by_offset))
    for offset in range(guesses):
        by_offset[offset] += 1
