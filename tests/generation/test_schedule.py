"""How many blanks a step fills: the published schedule, by hand."""

import pytest
import torch

from planned_diffusion.generation.decoders.schedule import EPSILON, quota, reveal_fractions, step_count


def fills(length: int, ratio: float, longest: int | None = None) -> list[int]:
    """Blanks that each step fills in a span of `length`, in a round whose longest span has `longest`."""
    left, counts = length, []
    for fraction in reveal_fractions(step_count(longest or length, ratio)):
        counts.append(quota(left, fraction))
        left -= counts[-1]
    assert left == 0
    return counts


@pytest.mark.parametrize(
    "longest, ratio, steps",
    [(10, 1.0, 10), (10, 0.5, 5), (10, 0.25, 2), (10, 0.1, 1), (10, 0.01, 1), (1, 0.5, 1), (7, 0.5, 3), (10, 2.0, 20)],
)
def test_steps(longest, ratio, steps):
    assert step_count(longest, ratio) == steps


@pytest.mark.parametrize(
    "length, ratio, counts",
    [
        # times of 4 steps: 1, .75025, .5005, .25075, .001
        (4, 1.0, [1, 1, 1, 1]),
        (8, 0.5, [1, 2, 2, 3]),  # 8 x .24975 = 1.998, 7 x .3329 = 2.33, 5 x .4990 = 2.495, the rest
        (16, 0.25, [3, 4, 4, 5]),  # 16 x .24975 = 3.996, 13 x .3329 = 4.33, 9 x .4990 = 4.49
        (10, 0.5, [1, 2, 2, 2, 3]),  # fractions .1998, .2497, .3328, .4985, 1: 1.998, 2.25, 2.33, 2.49
        (20, 0.1, [9, 11]),  # 20 x .4995 = 9.99
        (7, 0.1, [7]),
        (1, 1.0, [1]),
        (3, 2.0, [1, 1, 1, 0, 0, 0]),  # more steps than tokens: the span is done before them
    ],
)
def test_quotas_by_hand(length, ratio, counts):
    assert fills(length, ratio) == counts


@pytest.mark.parametrize("length", range(1, 60))
def test_ratio_one_is_a_token_per_step(length):
    assert fills(length, 1.0) == [1] * length


def test_a_shorter_span_follows_the_longest_ones_steps():
    assert fills(10, 0.5, longest=20) == [1] * 9 + [1]
    assert fills(3, 0.5, longest=8) == [1, 1, 1, 0]


@pytest.mark.parametrize("steps", [1, 2, 5, 17, 300])
def test_the_last_step_takes_all(steps):
    fractions = reveal_fractions(steps)
    assert len(fractions) == steps and fractions[-1] == 1.0
    assert all(0 < low < high for low, high in zip(fractions, fractions[1:], strict=False))


@pytest.mark.parametrize("steps", [2, 3, 10, 64])
def test_fractions_are_the_published_formula(steps):
    times = torch.linspace(1, EPSILON, steps + 1)
    expected = [float(1 - times[i + 1] / times[i]) for i in range(steps - 1)] + [1.0]
    assert reveal_fractions(steps) == expected


def test_quota_is_rounded_as_in_float32():
    """What the published code computes: int(tensor of blanks x float32 fraction)."""
    for steps in (2, 3, 5, 10, 27, 36, 37, 60, 120):
        for fraction in reveal_fractions(steps)[:-1]:
            blanks = torch.arange(1, 230)
            published = (blanks.float() * torch.tensor(fraction, dtype=torch.float32)).int().clamp(min=1)
            assert [quota(int(blank), fraction) for blank in blanks] == published.tolist()


def test_quota_bounds():
    assert quota(0, 0.5) == 0
    assert quota(5, 1e-9) == 1
    assert quota(5, 1.0) == 5
