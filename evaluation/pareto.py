"""The frontier of quality against cost: the systems that no other system beats at their cost or below."""

from collections.abc import Sequence
from dataclasses import dataclass

from .measure import Measurement
from .variants import VARIANTS


@dataclass(frozen=True)
class Point:
    """A system with its quality and its costs per answer: forwards, and seconds alone and in batches."""

    system: str
    decoding: str
    quality: float
    forwards: float
    seconds_alone: float
    seconds_batched: float


def points_of(batched: Sequence[Measurement], alone: Sequence[Measurement]) -> list[Point]:
    """Return a point per system; rows of the same place in both lists belong to the same system."""
    return [
        Point(row.system, VARIANTS[row.system]["decoding"], row.facts_right, row.forwards, one.seconds, row.seconds)
        for row, one in zip(batched, alone, strict=True)
    ]


def undominated(points: Sequence[Point], cost: str) -> list[Point]:
    """Return the frontier by rising cost: no other point has at least its quality at less cost, or more at the same."""
    frontier, best = [], float("-inf")
    for point in sorted(points, key=lambda point: (getattr(point, cost), -point.quality)):
        if point.quality > best:
            frontier.append(point)
            best = point.quality
    return frontier
