"""What a decoder and the engine say to each other: a `Request` starts a decoder; it yields `Query`s and gets `Reply`s.

A decoder is a generator for ONE request. It knows no model and no tensors; it also yields the events of `trace.py`,
which the engine passes on without answering.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import groupby
from typing import NamedTuple

from .plan import Plan, Unit
from .tokens import Allowed, ControlTokens


@dataclass(frozen=True)
class Sampling:
    """How the rows of a request are drawn. Filters act on greedy rows too: they shape the scores.

    temperature: 0 takes the most likely token; scores then use the distribution at temperature 1.
    score: a key of `engine.scores.SCORES`.
    seed: of the request's own noise, so that a batch draws what its rows draw alone.
    """

    temperature: float = 0.0
    top_k: int | None = None
    top_p: float | None = None
    score: str = "entropy"
    seed: int = 0


@dataclass(frozen=True)
class Settings:
    """What a decoder may be told; see `PlannedDiffusionGenerationConfig` for the meaning of each field."""

    max_new_tokens: int
    dense: bool = False
    steps_ratio: float = 1.0
    confidence_threshold: float | None = None
    unmasking_rule: str = "schedule"
    confidence_factor: float = 1.0
    entropy_bound: float = 0.1
    window_blanks: int = 16
    window_tokens: int = 128
    random_order: bool = False
    block_size: int = 32
    block_cache: str = "dual"
    mixture_weight: float = 0.7
    kv_window: int = 16
    max_lookahead: int = 100
    refine_share: float = 0.0
    plan_lookahead: int = 0
    max_spans: int = 32
    max_rounds: int = 16
    close_padding: bool = True
    suppress_in_spans: frozenset[int] = frozenset()


def never(ids) -> bool:
    return False


@dataclass(frozen=True)
class Request:
    """One prompt and how to answer it.

    separator_ids: put between the texts of two spans when the answer is read (`span_separator` of the config).
    should_stop: asked with prompt and answer text so far, after every token or step.
    process: changes the scores of a token written left to right: (ids so far, float [1, V]) -> float [1, V].
    has_assistant: queries may ask for the assistant.
    """

    prompt_ids: tuple[int, ...]
    tokens: ControlTokens
    unit: Unit
    settings: Settings
    sampling: Sampling = Sampling()
    plan: Plan | None = None
    separator_ids: tuple[int, ...] = ()
    should_stop: Callable[[list[int]], bool] = never
    process: Callable | None = None
    has_assistant: bool = False


@dataclass(frozen=True)
class Query:
    """Tokens to run, and the output rows that are wanted.

    Attributes:
        token_ids, positions, spans, rounds: one entry per token, labels as in `visibility.py`. A position that was run
            before in the same stream is run again and its cached state replaced.
        wanted: indices into these lists; the output row of position p predicts the token at p + 1.
        allowed: tokens that may be drawn in the wanted rows, or a list with an entry for each.
        purpose: "planning", "denoising", "decoding" (text written left to right) or "scoring" (of a draft); what the
            forward is counted as.
        commits: spans of a finished round are run along with their final tokens.
        process: changes the scores of the (single) wanted row, float [1, V].
        streams: CLEAN or CAUSAL, one entry per token; all CLEAN when empty. A position has a state in each.
        runner: 0 for the model itself, 1 for the assistant, which has states of its own.
        keep: the rows' logits and noise are kept for this request's next query with `mix`.
        mix: the rows are combined with the last of those kept, mix x theirs + (1 - mix) x these, and drawn with the
            noise that those were drawn with.
        forget: positions whose states of the CLEAN stream are dropped first: of tokens that were taken back.
    """

    token_ids: list[int]
    positions: list[int]
    spans: list[int]
    rounds: list[int]
    wanted: list[int]
    allowed: Allowed | list[Allowed]
    purpose: str
    commits: bool = False
    process: Callable | None = field(default=None, compare=False)
    streams: list[int] = field(default_factory=list)
    runner: int = 0
    keep: bool = False
    mix: float | None = None
    forget: list[int] = field(default_factory=list)

    def alike(self) -> list[tuple[range, Allowed]]:
        """Consecutive wanted rows that may hold the same tokens."""
        if isinstance(self.allowed, Allowed):
            return [(range(len(self.wanted)), self.allowed)]
        runs, start = [], 0
        for allowed, rows in groupby(self.allowed):
            stop = start + len(list(rows))
            runs.append((range(start, stop), allowed))
            start = stop
        return runs


class Drawn(NamedTuple):
    """A token to write, the score that chose it, and its confidence; None for what was not drawn but follows."""

    token: int
    score: float
    confidence: float | None


@dataclass(frozen=True)
class Reply:
    """One entry per wanted row: the token drawn, its row's score, and its confidence (the largest probability)."""

    token_ids: list[int]
    scores: list[float]
    confidences: list[float]

    def split(self, counts: Iterable[int]) -> "list[Reply]":
        """The reply in consecutive parts of so many rows."""
        parts, start = [], 0
        for count in counts:
            rows = slice(start, start + count)
            parts.append(Reply(self.token_ids[rows], self.scores[rows], self.confidences[rows]))
            start = rows.stop
        return parts
