"""Rules that choose which blanks a step writes, and the step's result for one span."""

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from hashlib import blake2b

import torch

from ..events import PlacedSpan
from ..fields import Settings
from ..query import Drawn, Reply, Request
from .schedule import quota


def choose(
    scores: Sequence[float],
    confidences: Sequence[float],
    count: int,
    threshold: float | None,
    offsets: Sequence[int],
    extent: int,
) -> list[int]:
    """Choose blanks of one span: the `count` highest scores, and every confidence at or above `threshold`.

    Args:
        offsets: the blanks' places within the span, its opening tag counted as place 0; they matter, as `extent` does,
            only where scores are equal.
        extent: tokens of the span with both tags.

    Returns:
        Indices of the chosen blanks, ascending.
    """
    by_score = _descending(scores)
    if count < len(scores) and scores[by_score[count - 1]] == scores[by_score[count]]:
        chosen = _choose_among_equals(scores, count, offsets, extent)
    else:
        chosen = set(by_score[:count])
    if threshold is not None:
        chosen.update(index for index, value in enumerate(confidences) if value >= threshold)
    return sorted(chosen)


def _choose_among_equals(scores: Sequence[float], count: int, offsets: Sequence[int], extent: int) -> set[int]:
    """Break ties as the published code does: in the order of torch.topk over the span with its tags."""
    spread = torch.full((extent,), -torch.inf)
    spread[list(offsets)] = torch.tensor(scores)
    chosen = set(spread.topk(count).indices.tolist())
    return {index for index, offset in enumerate(offsets) if offset in chosen}


@dataclass(frozen=True)
class Blanks:
    """The blanks of one span at one step, in order.

    scores: as `unmasking` says, higher is better.
    confidences: the largest probability of each.
    quota: how many the schedule asks for, at least 1.
    offsets: their places within the span, its opening tag counted as place 0.
    extent: tokens of the span with both tags.
    """

    scores: Sequence[float]
    confidences: Sequence[float]
    quota: int
    offsets: Sequence[int]
    extent: int


def by_schedule(blanks: Blanks, settings: Settings) -> list[int]:
    """Choose as many as the schedule asks for, and every confident one (Dream; Fast-dLLM, arXiv 2505.22618)."""
    return choose(
        blanks.scores,
        blanks.confidences,
        blanks.quota,
        settings.confidence_threshold,
        offsets=blanks.offsets,
        extent=blanks.extent,
    )


def by_factor(blanks: Blanks, settings: Settings) -> list[int]:
    """Choose the n most confident, n being the largest with (n + 1)(1 - c_n) < factor, at least 1.

    c_n is the n-th highest confidence (arXiv 2505.22618, algorithm 1 and theorem 1): the more tokens are written at
    once, the surer each must be.
    """
    order = _descending(blanks.confidences)
    errors = [(n + 1) * (1 - blanks.confidences[index]) for n, index in enumerate(order, 1)]
    return sorted(order[: max(1, sum(error < settings.confidence_factor for error in errors))])


def by_entropy_bound(blanks: Blanks, settings: Settings) -> list[int]:
    """Choose by rising entropy, while (sum of their entropies - the largest) <= bound, in nats (arXiv 2505.24857).

    That difference bounds the mutual information that writing them independently ignores. The first always fits. The
    scores must be negative entropies.
    """
    order, total, count = _descending(blanks.scores), 0.0, 0
    for index in order:
        if total > settings.entropy_bound:  # the next one would be the largest, so its own entropy is not in the sum
            break
        total -= blanks.scores[index]
        count += 1
    return sorted(order[:count])


def by_deferred_commitment(blanks: Blanks, settings: Settings) -> list[int]:
    """Choose in a window from the first blank on: every confidence >= min(threshold, the highest there).

    The window (arXiv 2601.02076) holds at most `window_blanks` blanks and `window_tokens` tokens: it grows with the
    tokens written inside, and uncertain blanks are left until their context is there.
    """
    stop = blanks.offsets[0] + settings.window_tokens
    inside = [offset for offset in blanks.offsets[: settings.window_blanks] if offset < stop]
    window = blanks.confidences[: len(inside)]
    least = min(settings.confidence_threshold, max(window))
    return [index for index, value in enumerate(window) if value >= least]


# From (Blanks, Settings) to the indices of the blanks to write, ascending, at least one.
RULES: dict[str, Callable[[Blanks, Settings], list[int]]] = {
    "schedule": by_schedule,
    "factor": by_factor,
    "entropy_bound": by_entropy_bound,
    "deferred_commitment": by_deferred_commitment,
}


# Fields that a rule reads; the rules without `unmasking` go by confidence alone.
RULE_FIELDS = {
    "schedule": ("unmasking", "steps_ratio", "confidence_threshold"),
    "factor": ("confidence_factor",),
    "entropy_bound": ("unmasking", "entropy_bound"),
    "deferred_commitment": ("confidence_threshold", "window_blanks", "window_tokens"),
}


# Fields that every decoder with masked diffusion reads.
UNMASKING_FIELDS = (
    "unmasking_rule", *dict.fromkeys(name for names in RULE_FIELDS.values() for name in names), "close_padding",
)  # fmt: skip


def _descending(values: Sequence[float]) -> list[int]:
    return sorted(range(len(values)), key=values.__getitem__, reverse=True)  # among equals the first comes first


def in_random_order(positions: Iterable[int], seed: int) -> list[float]:
    """Score positions from 0 to 1 at random, the same at every step and in any batch."""
    digests = (blake2b(f"{seed}/{position}".encode(), digest_size=8).digest() for position in positions)
    return [int.from_bytes(digest) / 2**64 for digest in digests]


def reveal(
    span: PlacedSpan, blanks: list[int], reply: Reply, share: float, request: Request, closers: Collection[int] = ()
) -> dict[int, Drawn]:
    """Choose the tokens that one step writes into a span: position -> drawn token, ascending.

    Args:
        blanks: the span's open positions; `reply` has a row for each.
        share: of the blanks, that the schedule asks for; see `reveal_fractions`.
        closers: tokens beside `[PAD]` behind which only pads can follow (EOS, in answers without tags).
    """
    settings, pad = request.settings, request.control.padding
    chosen = RULES[settings.unmasking_rule](
        Blanks(
            in_random_order(blanks, request.sampling.seed) if settings.is_in_random_order else reply.scores,
            reply.confidences,
            quota(len(blanks), share),
            offsets=[position - span.start + 1 for position in blanks],
            extent=len(span.positions) + 2,
        ),
        settings,
    )
    drawn = {index: Drawn(reply.token_ids[index], reply.scores[index], reply.confidences[index]) for index in chosen}
    closing = [index for index in chosen if drawn[index].token == pad or drawn[index].token in closers]
    for index in closing if settings.close_padding else ():
        stop = span.gap_stop(blanks[index])
        behind = (after for after in range(index, len(blanks)) if blanks[after] < stop and after not in drawn)
        drawn |= {after: Drawn(pad, reply.scores[after], None) for after in behind}
    return {blanks[index]: drawn[index] for index in sorted(drawn)}
