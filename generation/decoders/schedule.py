"""The schedule: how many blanks each step fills (arXiv 2510.18087, appendix; the absorbing-state schedule of Dream)."""

import struct

import torch

EPSILON = 1e-3  # noise level that the last step starts from


def step_count(longest: int, steps_ratio: float) -> int:
    """Return the steps of a round whose longest span has `longest` blanks; at least 1."""
    return max(1, int(longest * steps_ratio))


def reveal_fractions(steps: int) -> list[float]:
    """Return, per step, the expected share of the remaining blanks that it fills; the last step fills all.

    Noise falls linearly from 1 to EPSILON, in float32 like the published schedule, so that its quotas come out alike.
    """
    times = torch.linspace(1, EPSILON, steps + 1, dtype=torch.float32)
    return [*(1 - times[1:-1] / times[:-2]).tolist(), 1.0]


def quota(blanks_left: int, fraction: float) -> int:
    """Return how many blanks a span fills in this step: at least 1 while any is left."""
    return min(blanks_left, max(1, int(_float32(blanks_left * fraction))))


def _float32(value: float) -> float:
    return struct.unpack("f", struct.pack("f", value))[0]
