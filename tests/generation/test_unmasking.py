"""Which blanks a step writes: scores by hand, and the choice among scored blanks."""

import math
import random

import pytest
import torch

from planned_diffusion.generation.decoders.unmasking import choose
from planned_diffusion.generation.engine.scores import SCORES


def logits_of(*rows) -> torch.Tensor:
    """Rows of probabilities as logits; what is excluded is as low as the filters leave it."""
    probabilities = torch.tensor(rows)
    return probabilities.log().masked_fill(probabilities == 0, torch.finfo(torch.float32).min)


def score_of(name: str, logits: torch.Tensor) -> torch.Tensor:
    shifted = logits - logits.amax(-1, keepdim=True)
    probabilities = shifted.softmax(-1)
    return SCORES[name](shifted, probabilities, probabilities.amax(-1))


ROWS = logits_of([0.5, 0.25, 0.25, 0], [0.9, 0.1, 0, 0], [1.0, 0, 0, 0], [0.25, 0.25, 0.25, 0.25])


@pytest.mark.parametrize(
    "score, by_hand",
    [
        (
            "entropy",
            [
                0.5 * math.log(0.5) + 0.5 * math.log(0.25),
                0.9 * math.log(0.9) + 0.1 * math.log(0.1),
                0.0,
                -math.log(4),
            ],
        ),
        ("confidence", [0.5, 0.9, 1.0, 0.25]),
        ("margin", [0.25, 0.8, 1.0, 0.0]),
    ],
)
def test_scores_by_hand(score, by_hand):
    torch.testing.assert_close(score_of(score, ROWS), torch.tensor(by_hand), atol=1e-6, rtol=1e-6)


def test_the_three_scores():
    assert set(SCORES) == {"entropy", "confidence", "margin"}


@pytest.mark.parametrize("score", SCORES)
def test_scores_do_not_depend_on_what_is_excluded_or_on_a_constant(score):
    some = torch.randn(5, 6, generator=torch.Generator().manual_seed(0))
    wider = torch.cat([some, torch.full((5, 40), torch.finfo(torch.float32).min)], dim=-1)
    torch.testing.assert_close(score_of(score, wider), score_of(score, some))
    torch.testing.assert_close(score_of(score, some + 7), score_of(score, some), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("score", SCORES)
def test_nearly_certain_rows_keep_their_order(score):
    """Close to 1 the scores must still tell rows apart."""
    rows = torch.tensor([[14.0, 0, 0], [15.0, 0, 0], [13.0, 0, 0]])
    assert score_of(score, rows).argsort().tolist() == [2, 0, 1]


def pick(scores, quota, threshold=None, confidences=None):
    offsets = list(range(1, len(scores) + 1))
    return choose(scores, confidences or scores, quota, threshold, offsets, extent=len(scores) + 2)


@pytest.mark.parametrize(
    "scores, quota, chosen",
    [
        ([0.1, 0.9, 0.5], 1, [1]),
        ([0.1, 0.9, 0.5], 2, [1, 2]),
        ([0.1, 0.9, 0.5], 3, [0, 1, 2]),
        ([-3.0, -1.0, -2.0], 1, [1]),
        ([0.5], 1, [0]),
    ],
)
def test_the_highest_scores_are_chosen(scores, quota, chosen):
    assert pick(scores, quota) == chosen


@pytest.mark.parametrize(
    "threshold, quota, chosen",
    [
        (None, 1, [3]),
        (0.95, 1, [3]),  # nothing is sure: the quota holds
        (0.9, 1, [1, 3]),  # at the threshold counts
        (0.85, 1, [1, 3]),
        (0.5, 1, [0, 1, 3]),
        (0.01, 1, [0, 1, 2, 3]),
        (0.9, 3, [0, 1, 3]),  # the quota is more than what is sure
    ],
)
def test_threshold(threshold, quota, chosen):
    assert pick([-0.5, -0.4, -0.9, -0.1], quota, threshold, confidences=[0.6, 0.9, 0.1, 0.92]) == chosen


def test_ties_are_broken_as_by_topk_over_the_span_with_its_tags():
    """The published code ranks the whole span, tags included, by torch.topk; equal scores follow its order."""
    choices = random.Random(0)
    for _ in range(300):
        extent = choices.randint(3, 40)
        offsets = sorted(choices.sample(range(1, extent - 1), choices.randint(1, extent - 2)))
        scores = [choices.choice([0.0, -0.5, -1.0]) for _ in offsets]
        quota = choices.randint(1, len(offsets))
        spread = torch.full((extent,), -torch.inf)
        spread[offsets] = torch.tensor(scores)
        published = sorted(offsets.index(offset) for offset in spread.topk(quota).indices.tolist())
        chosen = choose(scores, scores, quota, None, offsets, extent)
        assert sorted(scores[index] for index in chosen) == sorted(scores[index] for index in published)
        assert len(chosen) == quota and chosen == sorted(set(chosen))
        if sorted(scores)[-quota] in sorted(scores)[:-quota]:  # the tie lies across the quota
            assert chosen == published
