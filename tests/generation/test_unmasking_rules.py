"""The rules that choose blanks, against slow readings of their papers, and inside the spans of planned diffusion."""

import math
import random

import pytest

from planned_diffusion.generation.decoders.unmasking import RULE_FIELDS, RULES, Blanks, in_random_order
from planned_diffusion.generation.fields import Settings


def blanks_of(confidences, scores=None, offsets=None, quota=1) -> Blanks:
    offsets = offsets or list(range(1, len(confidences) + 1))
    return Blanks(scores or confidences, confidences, quota, offsets, extent=offsets[-1] + 2)


def choose(rule: str, blanks: Blanks, **settings) -> list[int]:
    return RULES[rule](blanks, Settings(max_new_tokens=100, **settings))


# By hand


@pytest.mark.parametrize(
    "factor, chosen",
    [
        (0.01, [1]),  # none fits: the most confident
        (0.3, [1]),  # 2 x 0.1 < 0.3, 3 x 0.2 = 0.6
        (0.7, [0, 1]),
        (1.3, [0, 1, 3]),  # 4 x 0.3 = 1.2
        (99, [0, 1, 2, 3]),
    ],
)
def test_factor_by_hand(factor, chosen):
    assert choose("factor", blanks_of([0.8, 0.9, 0.1, 0.7]), confidence_factor=factor) == chosen


@pytest.mark.parametrize(
    "bound, chosen",
    [(0.0, [1]), (0.1, [1, 3]), (0.2, [1, 3]), (0.3, [0, 1, 3]), (9, [0, 1, 2, 3])],  # entropies .3 .1 2. .2
)
def test_entropy_bound_by_hand(bound, chosen):
    blanks = blanks_of([0.5] * 4, scores=[-0.3, -0.1, -2.0, -0.2])
    assert choose("entropy_bound", blanks, entropy_bound=bound + 1e-9) == chosen


@pytest.mark.parametrize(
    "threshold, most_blanks, most_tokens, chosen",
    [
        (0.9, 9, 99, [1, 4]),
        (0.9, 3, 99, [1]),  # the last is not in the window
        (0.9, 9, 3, [1]),  # nor here: the fourth blank stands 3 behind the first
        (0.95, 9, 99, [4]),
        (0.99, 9, 99, [4]),  # none is sure: the most confident
        (0.9, 1, 99, [0]),  # left to right
    ],
)
def test_deferred_commitment_by_hand(threshold, most_blanks, most_tokens, chosen):
    blanks = blanks_of([0.2, 0.92, 0.4, 0.1, 0.97], offsets=[3, 4, 5, 6, 7])
    settings = {"window_blanks": most_blanks, "window_tokens": most_tokens, "confidence_threshold": threshold}
    assert choose("deferred_commitment", blanks, **settings) == chosen


# Against the papers' definitions, read slowly


def largest_n_of_the_factor_rule(blanks: Blanks, settings: dict) -> list[int]:
    """Fast-dLLM, algorithm 1: sort, then the largest n with (n + 1)(1 - c_(n)) < f; always the first."""
    ranked = sorted(range(len(blanks.confidences)), key=lambda index: -blanks.confidences[index])
    best = 1
    for n in range(1, len(ranked) + 1):
        if (n + 1) * (1 - blanks.confidences[ranked[n - 1]]) < settings["confidence_factor"]:
            best = n
    return sorted(ranked[:best])


def largest_set_of_the_entropy_bound(blanks: Blanks, settings: dict) -> list[int]:
    """EB-Sampler, equation for U: the largest prefix by rising entropy with sum - max <= gamma."""
    entropies = [-score for score in blanks.scores]
    ranked = sorted(range(len(entropies)), key=lambda index: entropies[index])
    sets = [ranked[:size] for size in range(1, len(ranked) + 1)]
    within = [
        chosen
        for chosen in sets
        if math.fsum(entropies[index] for index in chosen) - max(entropies[index] for index in chosen)
        <= settings["entropy_bound"]
    ]
    return sorted(max(within, key=len, default=ranked[:1]))


def window_of_deferred_commitment(blanks: Blanks, settings: dict) -> list[int]:
    """DCD: from the leftmost blank to the furthest end with at most s_init blanks and s_max tokens between."""
    left, last = blanks.offsets[0], blanks.extent - 2
    ends = [
        right
        for right in range(left + 1, last + 2)
        if right - left <= settings["window_tokens"]
        and sum(left <= offset < right for offset in blanks.offsets) <= settings["window_blanks"]
    ]
    window = [index for index, offset in enumerate(blanks.offsets) if offset < max(ends)]
    sure = [index for index in window if blanks.confidences[index] >= settings["confidence_threshold"]]
    highest = max(blanks.confidences[index] for index in window)
    return sure or [index for index in window if blanks.confidences[index] == highest]


SLOW = {
    "factor": largest_n_of_the_factor_rule,
    "entropy_bound": largest_set_of_the_entropy_bound,
    "deferred_commitment": window_of_deferred_commitment,
}


@pytest.mark.parametrize("rule", SLOW)
def test_rules_equal_their_papers(rule):
    draw, counts = random.Random(0), set()
    for _ in range(400):
        offsets = sorted(draw.sample(range(1, 40), draw.randint(1, 30)))
        confidences = [1 - draw.random() ** 3 for _ in offsets]
        blanks = blanks_of(confidences, [-draw.random() for _ in offsets], offsets)
        settings = {
            "confidence_factor": draw.choice([0.1, 0.5, 1.0, 2.0]),
            "entropy_bound": draw.choice([0.0, 0.1, 1.0, 3.0]),
            "confidence_threshold": draw.choice([0.5, 0.9, 0.999]),
            "window_blanks": draw.randint(1, 10),
            "window_tokens": draw.randint(10, 20),
        }
        settings = {name: settings[name] for name in RULE_FIELDS[rule] if name in settings}
        chosen = choose(rule, blanks, **settings)
        assert chosen == SLOW[rule](blanks, settings)
        counts.add(len(chosen))
    assert len(counts) > 3


@pytest.mark.parametrize("rule", RULES)
def test_every_rule_writes_something(rule):
    for confidences in ([0.0], [0.0, 0.0, 0.0], [1.0, 1.0]):
        blanks = blanks_of(confidences, scores=[-5.0] * len(confidences))
        assert choose(rule, blanks, confidence_threshold=1.0)


# Inside spans


@pytest.mark.parametrize(
    "settings, steps",
    [
        ({"unmasking_rule": "factor", "confidence_factor": 0.7}, ["6:x 8:z", "9:w", "7:y"]),
        (
            {"unmasking_rule": "deferred_commitment", "window_blanks": 2, "confidence_threshold": 0.8},
            ["6:x", "8:z", "9:w", "7:y"],
        ),
        ({"unmasking_rule": "deferred_commitment", "confidence_threshold": 0.8}, ["6:x 8:z", "9:w", "7:y"]),
    ],
    ids=["factor", "small window", "wide window"],
)
def test_rules_in_spans(settings, steps, play):
    assert play(says="<a4>$", fills="P<a4>[xyzw]$", scores="......9183", **settings).steps == steps


def test_an_entropy_bound_in_spans(play):
    """Scores are negative entropies: the script's default is that of the position, leftmost first."""
    played = play(says="<a3>$", fills="P<a3>[xyz]$", unmasking_rule="entropy_bound", entropy_bound=6.5)
    assert played.steps == ["6:x", "7:y", "8:z"]  # entropies 7, 8, 9: the second would leave 7 > 6.5
    played = play(says="<a3>$", fills="P<a3>[xyz]$", unmasking_rule="entropy_bound", entropy_bound=7.5)
    assert played.steps == ["6:x 7:y", "8:z"]


# Any order


def test_a_random_order_is_uniform_and_depends_on_the_seed_alone():
    positions = list(range(50, 62))
    orders = [in_random_order(positions, seed) for seed in range(4000)]
    first = [scores.index(max(scores)) for scores in orders]
    counts = [first.count(index) for index in range(12)]
    expected = 4000 / 12
    assert sum((count - expected) ** 2 / expected for count in counts) < 31.3  # chi squared, 11 degrees, p = 0.001
    assert in_random_order(positions, 7) == in_random_order(positions, 7) != in_random_order(positions, 8)
    assert in_random_order(positions[3:], 7) == in_random_order(positions, 7)[3:]


def test_a_random_order_is_each_position_once(model, prompts):
    import torch

    plan = [[[104, 30, 16, 17, 105, 100]]]  # 12 tokens
    orders = []
    for seed in (1, 1, 2):
        out = model.generate(
            torch.tensor([[1, 2, 3]]), plan=plan, max_new_tokens=200, unmasking="random", seed=seed,
            close_padding=False, output_trace=True, return_dict_in_generate=True,
        )  # fmt: skip
        orders.append([position for step in out.trace[0].steps for position in step.positions])
    assert orders[0] == orders[1] != orders[2] and sorted(orders[0]) == sorted(orders[2]) != orders[0]
