"""The words between decoder and engine: a `Request` starts a decoder; it yields `Query`s and receives `Reply`s.

A decoder is a generator for ONE request. It knows no model and no tensors; it also yields the events of `events.py`,
which the engine passes on without answering.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from itertools import groupby
from typing import TYPE_CHECKING, NamedTuple, Protocol

from .fields import Settings
from .plan import Plan, Unit
from .tokens import Allowed, ControlTokens

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Sampling:
    """How the rows of a request are drawn. Filters act on greedy rows too: they shape the scores.

    Attributes:
        temperature: 0 takes the most likely token; scores then use the distribution at temperature 1.
        score: a key of `engine.scores.SCORES`.
        seed: of the request's own noise, so that a batch draws the tokens that its rows draw alone.
        top_logprobs: tell the log-probability of every row's token, and of so many of the likeliest (`RowsScored`);
            None tells nothing.
    """

    temperature: float = 0.0
    top_k: int | None = None
    top_p: float | None = None
    score: str = "entropy"
    seed: int = 0
    top_logprobs: int | None = None


class Lockstep(Protocol):
    """The requests of a batch that is written left to right: each token of all is drawn in one forward.

    So what a caller gives to change scores and to stop answers is called once per token, with a row for every request.
    """

    def process(self, rows: list[int], scores: "torch.Tensor") -> "torch.Tensor":
        """Change the scores of the requests that still write, float [R, V]; `rows` are their places in the batch."""
        ...

    def write(self, rows: list[int], tokens: list[int]) -> None:
        """Take in the token that each of these requests writes."""
        ...


@dataclass(frozen=True)
class Request:
    """One prompt and how to answer it.

    Attributes:
        prompt_ids: without padding.
        control: the checkpoint's control tokens.
        unit: tokens per promised number.
        settings: the fields of `generate`, resolved.
        sampling: how rows are drawn.
        plan: the caller's plan; None lets the model plan.
        separator_ids: put between the texts of two spans when the answer is read (`span_separator` of the config).
        should_stop: asked with prompt and answer text so far, after every token or step.
        process: changes the scores of a token written left to right: (ids so far, float [1, V]) -> float [1, V].
        has_assistant: queries may ask for the assistant.
        lockstep: shared by all requests of a batch that is written in lockstep; it then changes the scores.
    """

    prompt_ids: tuple[int, ...]
    control: ControlTokens
    unit: Unit
    settings: Settings
    sampling: Sampling = Sampling()
    plan: Plan | None = None
    separator_ids: tuple[int, ...] = ()
    should_stop: Callable[[list[int]], bool] | None = None
    process: "Callable[[list[int], torch.Tensor], torch.Tensor] | None" = None
    has_assistant: bool = False
    lockstep: Lockstep | None = None

    def process_after(self, ids: list[int]) -> "Callable[[torch.Tensor], torch.Tensor] | None":
        """Return the logits processor for the token behind `ids`, or None: float [1, V] -> float [1, V]."""
        return None if self.process is None else partial(self.process, ids)


@dataclass(frozen=True)
class Query:
    """Tokens to run, and the output rows that are wanted.

    Attributes:
        token_ids, positions, spans, rounds: one entry per token, labels as in `visibility.py`. A position that was run
            before in the same stream is run again and its cached state replaced.
        wanted: indices into these lists; the output row of position p predicts the token at p + 1.
        allowed: tokens that may be drawn in the wanted rows, or a list with an entry for each.
        drafts: how many of the wanted rows, the last ones, are guesses: they are drawn greedily.
        by_position: the noise of a row depends on the request's seed and the position that it predicts, so that what is
            written there does not depend on how often, and beside which guesses, it was asked.
        purpose: "planning", "denoising", "decoding" (text written left to right) or "scoring" (of a draft);
            the forward is counted under this name.
        commits: spans of a finished round run along with their final tokens.
        process: changes the scores of the (single) wanted row, float [1, V].
        streams: CLEAN, CAUSAL or DRAFT + anchor, one entry per token; all CLEAN when empty. A position has a state in
            each; that of a draft is gone after the forward.
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
    process: "Callable[[torch.Tensor], torch.Tensor] | None" = field(default=None, compare=False)
    streams: list[int] = field(default_factory=list)
    runner: int = 0
    keep: bool = False
    mix: float | None = None
    forget: list[int] = field(default_factory=list)
    drafts: int = 0
    by_position: bool = False

    def alike(self) -> list[tuple[range, Allowed]]:
        """Group consecutive wanted rows that may hold the same tokens; none of them holds guesses and others."""
        rows, first_guess = len(self.wanted), len(self.wanted) - self.drafts
        allowed = [self.allowed] * rows if isinstance(self.allowed, Allowed) else self.allowed
        runs, start = [], 0
        for (alike, _), run in groupby(zip(allowed, (row >= first_guess for row in range(rows)), strict=True)):
            stop = start + len(list(run))
            runs.append((range(start, stop), alike))
            start = stop
        return runs


class Drawn(NamedTuple):
    """A token to write, the score that chose it, and its confidence; None for a pad that is implied, not drawn."""

    token: int
    score: float
    confidence: float | None


FREE_ROWS, WORTH_A_ROW = 32, 0.07  # of a request alone on a CPU; see guess_rows.py


@dataclass(frozen=True)
class Reply:
    """One entry per wanted row: the token drawn, its row's score, and its confidence (the largest probability).

    For guesses: `free_rows` is the request's part of the rows that a forward may have, which `live` requests share, and
    `worth_a_row` how many tokens a row must be expected to save to be worth its time.
    """

    token_ids: list[int]
    scores: list[float]
    confidences: list[float]
    free_rows: int = FREE_ROWS
    worth_a_row: float = WORTH_A_ROW
    live: int = 1

    def split(self, counts: Iterable[int]) -> "list[Reply]":
        """Cut the reply into consecutive pieces of so many rows."""
        pieces, start = [], 0
        for count in counts:
            rows = slice(start, start + count)
            pieces.append(Reply(self.token_ids[rows], self.scores[rows], self.confidences[rows]))
            start = rows.stop
        return pieces
