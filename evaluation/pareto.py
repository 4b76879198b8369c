"""The frontier of quality against cost: the systems that no other system beats at their cost or below."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Point:
    """A system with its quality and its costs per answer: forwards, and seconds alone and in batches."""

    system: str
    decoding: str
    quality: float
    forwards: float
    seconds_alone: float
    seconds_batched: float


def undominated(points: Sequence[Point], cost: str) -> list[Point]:
    """Return the frontier by rising cost: no other point has at least its quality at less cost, or more at the same."""
    frontier, best = [], float("-inf")
    for point in sorted(points, key=lambda point: (getattr(point, cost), -point.quality)):
        if point.quality > best:
            frontier.append(point)
            best = point.quality
    return frontier
