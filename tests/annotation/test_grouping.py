"""Groups of passages against brute force."""

import random
from itertools import combinations

from planned_diffusion.annotation.grouping import LEAST_STEP, PROMISE_COST, for_parallel, for_steps


def cost(sizes, groups):
    return PROMISE_COST * len(groups) + max(sum(sizes[i] for i in group) for group in groups)


def every_grouping(count):
    for cuts in range(count):
        for places in combinations(range(1, count), cuts):
            edges = [0, *places, count]
            yield [range(a, b) for a, b in zip(edges, edges[1:], strict=False)]


def covers(groups, count):
    return [index for group in groups for index in group] == list(range(count)) and all(groups)


def test_parallel_groups_are_within_a_tenth_of_the_shortest_critical_path():
    draw = random.Random(0)
    for _ in range(200):
        sizes = [draw.choice((8, 30, 90, 300, 1000)) + draw.randint(0, 20) for _ in range(draw.randint(2, 8))]
        groups = for_parallel(sizes, 8)
        assert covers(groups, len(sizes))
        assert cost(sizes, groups) <= 1.1 * min(cost(sizes, one) for one in every_grouping(len(sizes)))


def test_groups_are_capped_and_tiny_passages_are_not_split():
    assert len(for_parallel([500] * 40, 6)) <= 6
    assert for_parallel([5, 5, 5], 8) == [range(3)]
    assert for_parallel([400, 400], 8) == [range(1), range(1, 2)]


def test_steps_have_a_least_size_and_a_cap():
    groups = for_steps([100] * 7, 12)
    assert covers(groups, 7) and groups == [range(2), range(2, 4), range(4, 7)]
    assert all(100 * len(group) >= LEAST_STEP for group in groups)
    assert len(for_steps([200] * 50, 12)) <= 12 and for_steps([10, 10], 12) == [range(2)]
