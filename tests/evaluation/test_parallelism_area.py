"""AUP by hand, beside an integral, and what its authors say that it does."""

import json
import math
from pathlib import Path

import pytest

from planned_diffusion.evaluation.parallelism_area import Setting, accuracy_under_parallelism, areas_of

ROOT = Path(__file__).parents[2]


def setting(parallelism, accuracy, decoding="planned", seconds=1.0):
    return Setting(decoding, parallelism, accuracy, seconds)


def test_by_hand():
    """First rectangle 1 x 80; then a trapezium between the weighted accuracies 80 and 76 e^-0.15, 2 wide."""
    assert accuracy_under_parallelism([(1.0, 80.0), (3.0, 76.0)], 80.0) == pytest.approx(
        80 + (80 + 76 * math.exp(-0.15))
    )
    assert accuracy_under_parallelism([(1.5, 60.0)], 80.0) == 90.0  # one setting is not weighted
    assert accuracy_under_parallelism([(1.0, 0.0)], 0.0) == 0.0


def test_it_is_an_integral():
    """Beside a sum over 100,000 thin slices of the piecewise linear curve of weighted accuracies."""
    pairs, best = [(1.0, 90.0), (1.7, 91.0), (2.5, 88.5), (4.0, 86.0)], 92.0

    def weighted(y):
        return y * min(math.exp(-3 * (1 - y / best)), 1)

    def curve(rho):
        (low, a), (high, b) = next(
            (one, two) for one, two in zip(pairs, pairs[1:], strict=False) if one[0] <= rho <= two[0]
        )
        return weighted(a) + (weighted(b) - weighted(a)) * (rho - low) / (high - low)

    slices, width = 100_000, 3.0 / 100_000
    area = sum(curve(1.0 + (index + 0.5) * width) for index in range(slices)) * width
    assert accuracy_under_parallelism(pairs, best) == pytest.approx(90.0 + area, rel=1e-6)


def test_without_a_loss_it_is_the_plain_area():
    assert accuracy_under_parallelism([(1.0, 80.0), (2.0, 80.0), (5.0, 80.0)], 80.0) == pytest.approx(5 * 80)


def test_settings_that_lose_too_much_do_not_count():
    kept = [setting(1, 90), setting(2, 89, seconds=0.5)]
    lost = setting(9, 84.9, seconds=0.1)
    [area] = areas_of([lost, *kept])
    [without] = areas_of(kept)
    assert area.area == without.area and area.settings == (2, 3) and (area.most_parallel, area.seconds) == (2, 0.5)
    [edge] = areas_of([setting(9, 85.0), *kept])
    assert edge.settings == (3, 3) and edge.area > area.area


def test_decoders_share_the_best_accuracy_and_are_sorted():
    alone = areas_of([setting(1, 50), setting(3, 50)])
    both = areas_of([setting(1, 50), setting(3, 50), setting(1, 100, "other")])
    assert [one.decoding for one in both] == ["other", "planned"] and both[1].area < alone[0].area
    assert areas_of([]) == []


def test_the_order_of_settings_does_not_matter():
    settings = [setting(1, 90), setting(2, 92), setting(3, 88)]
    assert areas_of(settings) == areas_of(settings[::-1])


def test_our_own_results():
    """The included decoders: planning has the larger area than left to right, as its settings reach further."""
    rows = json.loads((ROOT / "benchmarks" / "results" / "decoders.json").read_text(encoding="utf-8"))
    from planned_diffusion.evaluation.frontier import settings_of
    from planned_diffusion.evaluation.measure import Measurement

    batched, alone = ([Measurement(**row) for row in rows[key]] for key in ("results", "results_alone"))
    areas = {one.decoding: one for one in areas_of(settings_of(batched, alone))}
    assert areas["planned"].area > areas["autoregressive"].area and areas["autoregressive"].settings == (1, 1)
    own = next(row for row in rows["results"] if row["system"] == "autoregressive")
    assert areas["autoregressive"].area == pytest.approx(100 * own["facts_right"] * own["tokens"] / own["forwards"])
