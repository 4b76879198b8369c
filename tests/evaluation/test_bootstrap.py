"""Estimates: values by hand, intervals as those of all resamples there are."""

import itertools
import random

import pytest

from planned_diffusion.evaluation.bootstrap import estimate


def test_a_mean_and_a_share_by_hand():
    assert estimate([(1, 1), (2, 1), (6, 1)]).value == 3
    assert estimate([(1, 2), (0, 1), (3, 3)]).value == 4 / 6  # spans that ended over all spans
    assert estimate([(5, 1)] * 4) == estimate([(5, 1)] * 4, seed=9)  # nothing varies
    assert (estimate([(5, 1)]).low, estimate([(5, 1)]).high) == (5, 5)


def test_prompts_that_do_not_count_are_left_out():
    assert estimate([None, (1, 1), (0, 0), (3, 1)]) == estimate([(1, 1), (3, 1)])
    assert estimate([None, (1, 1), (0, 0), (3, 1)]).count == 2
    assert estimate([]) is None and estimate([None, (0, 0)]) is None


@pytest.mark.parametrize("terms", [[(0, 1), (1, 1), (4, 1), (9, 1), (2, 1)], [(1, 2), (0, 1), (3, 3), (2, 5), (4, 4)]])
def test_the_interval_is_that_of_all_resamples(terms):
    every = sorted(
        sum(x for x, _ in drawn) / sum(w for _, w in drawn) for drawn in itertools.product(terms, repeat=len(terms))
    )
    found = estimate(terms, resamples=40_000)
    for bound, share in ((found.low, 0.025), (found.high, 0.975)):
        near = every[int((share - 0.004) * len(every))], every[int((share + 0.004) * len(every))]
        assert near[0] <= bound <= near[1]


def test_an_interval_is_repeatable_and_shrinks_with_more_prompts():
    draw = random.Random(0)
    many = [(draw.random(), 1) for _ in range(400)]
    few, all_of_them = estimate(many[:25]), estimate(many)
    assert estimate(many) == all_of_them
    assert few.low < few.value < few.high
    assert (few.high - few.low) / (all_of_them.high - all_of_them.low) == pytest.approx(4, rel=0.4)
