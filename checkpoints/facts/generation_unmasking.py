"""Which blanks to write: scores of a row's distribution, and the choice among scored blanks."""

from collections.abc import Sequence

import torch


def entropy(logits: torch.Tensor, probabilities: torch.Tensor) -> torch.Tensor:
    """Negative entropy, in nats: 0 for a certain row, -log V for a uniform one."""
    # With the largest logit at 0, nothing large cancels: rows that are nearly certain keep their order.
    return torch.linalg.vecdot(probabilities, logits) + probabilities.amax(-1).log()


def confidence(logits: torch.Tensor, probabilities: torch.Tensor) -> torch.Tensor:
    """The largest probability."""
    return probabilities.amax(-1)


def margin(logits: torch.Tensor, probabilities: torch.Tensor) -> torch.Tensor:
    """The largest probability minus the second largest."""
    top = probabilities.topk(2, dim=-1).values
    return top[..., 0] - top[..., 1]


# (logits, probabilities), float32 [W, V], to scores [W]; the highest are written first. The logits are filtered (what
# is
# excluded is finite but very low) and shifted, so that the largest of each row is 0.
SCORES = {"entropy": entropy, "confidence": confidence, "margin": margin}


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
    by_score = sorted(range(len(scores)), key=lambda index: -scores[index])
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
