"""AUP, accuracy under parallelism: the field's area below the curve of accuracy against tokens per forward.

    AUP = rho_1 y_1 + 1/2 sum_i (rho_i - rho_i-1) (y_i W(y_i) + y_i-1 W(y_i-1))
    W(y) = min(exp(-3 (1 - y / y_max)), 1)

over the settings of one decoder in the order of their tokens per forward rho, those left out whose accuracy y (in
percent) lies more than 5 below that of the first; y_max is the best accuracy of any decoder on the task (d3LLM, arXiv
2601.07568). It knows no seconds: a forward may be as wide as it likes. Our tokens per forward count the text alone, and
plans as forwards. A decoder with one setting has rho y.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

PENALTY = 3.0
MOST_LOST = 5.0  # percent below the accuracy of the least parallel setting


@dataclass(frozen=True)
class Setting:
    """A setting of a decoder: tokens per forward, accuracy in percent, and seconds per answer, one at a time."""

    decoding: str
    parallelism: float
    accuracy: float
    seconds: float


@dataclass(frozen=True)
class Area:
    """The area of a decoder, in percent times tokens per forward, and its least seconds among the settings that count.

    settings: (those that count, all).
    """

    decoding: str
    area: float
    settings: tuple[int, int]
    most_parallel: float
    seconds: float


def areas_of(settings: Iterable[Setting]) -> list[Area]:
    """Return the area of every decoder, the largest first."""
    by_decoder: dict[str, list[Setting]] = {}
    for one in settings:
        by_decoder.setdefault(one.decoding, []).append(one)
    best = max((one.accuracy for own in by_decoder.values() for one in own), default=0.0)
    areas = []
    for decoding, own in by_decoder.items():
        counted = that_count(own)
        area = accuracy_under_parallelism([(one.parallelism, one.accuracy) for one in counted], best)
        fastest = min(one.seconds for one in counted)
        areas.append(Area(decoding, area, (len(counted), len(own)), counted[-1].parallelism, fastest))
    return sorted(areas, key=lambda one: -one.area)


def that_count(settings: Sequence[Setting]) -> list[Setting]:
    """Return the settings of a decoder that enter its area, by rising parallelism."""
    ordered = sorted(settings, key=lambda one: one.parallelism)
    return [one for one in ordered if one.accuracy >= ordered[0].accuracy - MOST_LOST]


def accuracy_under_parallelism(pairs: Sequence[tuple[float, float]], best: float) -> float:
    """Return the area below pairs of tokens per forward and accuracy in percent.

    Args:
        pairs: at least one, by rising tokens per forward, those that count.
        best: the best accuracy of any decoder on the task, in percent, above 0 if any is.
    """
    weighted = [(rho, y * (min(math.exp(-PENALTY * (1 - y / best)), 1.0) if best else 0.0)) for rho, y in pairs]
    steps = zip(weighted, weighted[1:], strict=False)
    trapeziums = ((after - before) * (low + high) / 2 for (before, low), (after, high) in steps)
    return pairs[0][0] * pairs[0][1] + sum(trapeziums)
