"""Estimates with bootstrap intervals: how far a figure would move if other prompts of the same kind had been asked.

A figure is a ratio of two sums over the prompts, sum of x / sum of w: the mean of x where every w is 1, and else a
share such as spans that ended over all spans. The prompts are drawn again with replacement, pairs (x, w) together, and
the figure is computed for every draw; the interval holds the middle 95 % of these figures (percentile bootstrap).
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from .stamp import SEED

RESAMPLES = 2000
INTERVAL = (0.025, 0.975)  # quantiles

Term = tuple[float, float]  # what a prompt adds to the two sums; a prompt of weight 0 does not count


@dataclass(frozen=True)
class Estimate:
    """A figure with its interval, from the `count` prompts that count."""

    value: float
    low: float
    high: float
    count: int


def estimate(terms: Iterable[Term | None], resamples: int = RESAMPLES, seed: int = SEED) -> Estimate | None:
    """Return the ratio of the two sums with its interval; None where no prompt counts.

    Args:
        terms: a pair per prompt, or None for a prompt that does not count.
    """
    counted = [term for term in terms if term is not None and term[1] > 0]
    if not counted:
        return None
    sums = torch.tensor(counted, dtype=torch.float64)  # [N, 2]
    x, w = sums.sum(0).tolist()
    noise = torch.Generator().manual_seed(seed)
    drawn = torch.randint(len(counted), (resamples, len(counted)), generator=noise)  # [R, N]
    again = sums[drawn].sum(1)  # [R, 2]
    low, high = torch.quantile(again[:, 0] / again[:, 1], torch.tensor(INTERVAL, dtype=torch.float64)).tolist()
    return Estimate(x / w, low, high, len(counted))


def compared(
    pairs: Iterable[tuple[Term | None, Term | None]],
    by: Callable[[Tensor, Tensor], Tensor],
    resamples: int = RESAMPLES,
    seed: int = SEED,
) -> Estimate | None:
    """Return how two figures on the same prompts differ, with its interval; None where no prompt counts for both.

    Args:
        pairs: the terms of a prompt in both figures, which are drawn together: what is hard for both widens nothing.
        by: `torch.sub` for their difference, `torch.div` for their ratio.
    """
    counted = [(*one, *other) for one, other in pairs if one and other and one[1] > 0 and other[1] > 0]
    if not counted:
        return None
    sums = torch.tensor(counted, dtype=torch.float64)  # [N, 4]
    noise = torch.Generator().manual_seed(seed)
    drawn = torch.randint(len(counted), (resamples, len(counted)), generator=noise)  # [R, N]
    whole, again = sums.sum(0), sums[drawn].sum(1)  # [4], [R, 4]
    low, high = torch.quantile(
        by(again[:, 0] / again[:, 1], again[:, 2] / again[:, 3]), torch.tensor(INTERVAL, dtype=torch.float64)
    ).tolist()
    return Estimate(by(whole[0] / whole[1], whole[2] / whole[3]).item(), low, high, len(counted))
