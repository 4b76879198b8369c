"""Which blanks to write: scores of a row's distribution, and rules that choose among scored blanks."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import blake2b

import torch

from .generation_events import PlacedSpan
from .generation_query import Drawn, Reply, Request, Settings
from .generation_decoders_schedule import quota


def choose(
    scores: Sequence[float],
    confidences: Sequence[float],
    quota: int,
    threshold: float | None,
    offsets: Sequence[int],
    extent: int,
) -> list[int]:
    """Indices of the blanks of one span to write, ascending: the `quota` highest scores, and every confidence at or
    above `threshold`.

    `offsets` are the blanks' places within the span, its opening tag counted as place 0, `extent` its tokens with both
    tags; they matter only where scores are equal.
    """
    by_score = _descending(scores)
    if quota < len(scores) and scores[by_score[quota - 1]] == scores[by_score[quota]]:
        chosen = _choose_among_equals(scores, quota, offsets, extent)
    else:
        chosen = set(by_score[:quota])
    if threshold is not None:
        chosen.update(index for index, value in enumerate(confidences) if value >= threshold)
    return sorted(chosen)


def _choose_among_equals(scores: Sequence[float], quota: int, offsets: Sequence[int], extent: int) -> set[int]:
    """Equal scores in the order of torch.topk over the span with its tags: how the published code breaks ties."""
    spread = torch.full((extent,), -torch.inf)
    spread[list(offsets)] = torch.tensor(scores)
    chosen = set(spread.topk(quota).indices.tolist())
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
    """As many as the schedule asks for, and every one that is confident enough (Dream; Fast-dLLM, arXiv 2505.22618)."""
    return choose(
        blanks.scores,
        blanks.confidences,
        blanks.quota,
        settings.confidence_threshold,
        offsets=blanks.offsets,
        extent=blanks.extent,
    )


def by_factor(blanks: Blanks, settings: Settings) -> list[int]:
    """The n most confident, n being the largest with (n + 1)(1 - c_n) < factor, at least 1.

    c_n is the n-th highest confidence (arXiv 2505.22618, algorithm 1 and theorem 1): the more tokens are written at
    once, the surer each must be.
    """
    order = _descending(blanks.confidences)
    errors = [(n + 1) * (1 - blanks.confidences[index]) for n, index in enumerate(order, 1)]
    return sorted(order[: max(1, sum(error < settings.confidence_factor for error in errors))])


def by_entropy_bound(blanks: Blanks, settings: Settings) -> list[int]:
    """By rising entropy, as many as keep (sum of their entropies - the largest) <= bound, in nats (arXiv 2505.24857).

    That difference bounds the mutual information that writing them independently ignores. The first always fits. The
    scores must be negative entropies.
    """
    order, total, count = _descending(blanks.scores), 0.0, 0
    for index in order:
        if total > settings.entropy_bound:  # what the largest entropy, its own, is taken off
            break
        total -= blanks.scores[index]
        count += 1
    return sorted(order[:count])


def by_deferred_commitment(blanks: Blanks, settings: Settings) -> list[int]:
    """Within a window that starts at the first blank, every one with confidence >= min(threshold, the highest there).

    The window (arXiv 2601.02076) reaches as far as it holds at most `window_blanks` blanks and `window_tokens` tokens:
    it grows with what is written inside, and what is uncertain waits for its context.
    """
    stop = blanks.offsets[0] + settings.window_tokens
    inside = [offset for offset in blanks.offsets[: settings.window_blanks] if offset < stop]
    window = blanks.confidences[: len(inside)]
    least = min(settings.confidence_threshold, max(window))
    return [index for index, value in enumerate(window) if value >= least]


# (Blanks, Settings) to the indices of the blanks to write, ascending, at least one.
RULES = {
    "schedule": by_schedule,
    "factor": by_factor,
    "entropy_bound": by_entropy_bound,
    "deferred_commitment": by_deferred_commitment,
}


# The fields that a rule reads; all but those of "schedule" and "entropy_bound" go by confidence alone.
RULE_FIELDS = {
    "schedule": ("unmasking", "steps_ratio", "confidence_threshold"),
    "factor": ("confidence_factor",),
    "entropy_bound": ("unmasking", "entropy_bound"),
    "deferred_commitment": ("confidence_threshold", "window_blanks", "window_tokens"),
}


def _descending(values: Sequence[float]) -> list[int]:
    return sorted(range(len(values)), key=values.__getitem__, reverse=True)  # of equals the first one first


def in_random_order(positions: Iterable[int], seed: int) -> list[float]:
    """Scores from 0 to 1 that order a request's positions at random, the same at every step and in any batch."""
    digests = (blake2b(f"{seed}/{position}".encode(), digest_size=8).digest() for position in positions)
    return [int.from_bytes(digest) / 2**64 for digest in digests]


def reveal(
    span: PlacedSpan, blanks: list[int], reply: Reply, fraction: float, request: Request, closers: Iterable[int] = ()
) -> dict[int, Drawn]:
    """What one step writes into a span: position -> what was drawn, ascending.

    Args:
        blanks: the span's open positions; `reply` has a row for each.
        fraction: of the schedule, see `reveal_fractions`.
        closers: tokens beside `[PAD]` behind which only pads can follow (EOS, in answers without tags).
    """
    settings, pad = request.settings, request.tokens.padding
    chosen = RULES[settings.unmasking_rule](
        Blanks(
            in_random_order(blanks, request.sampling.seed) if settings.random_order else reply.scores,
            reply.confidences,
            quota(len(blanks), fraction),
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
