"""Groups against brute force; topics are words of the text."""

import random
from itertools import combinations

import pytest

from planned_diffusion.annotation.grouping import LEAST_STEP, PROMISE_COST, for_parallel, for_steps
from planned_diffusion.annotation.topics import topic_of


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


@pytest.mark.parametrize(
    ("passages", "topic"),
    [
        (["1. Be yourself: To create deep friendships"], "Be yourself"),
        (["\n\n2. **Data leakage**: occurs when"], "Data leakage"),
        (["\n## The history of tea\nTea was"], "history tea"),
        (["- Eat a balanced diet and make sure"], "Eat balanced diet"),
        (["\nStep 3: Turn off the oven."], "Turn off oven"),
        (["1. Flu", " \n2. Diabetes", " \n3. HIV", "\n4. Heart disease"], "Flu Diabetes HIV"),
        (["- Avoid screens (e.g. telephones) at night"], "Avoid screens telephones"),
        (["- 1/2 cup of milk"], "cup milk"),
        (["- 1/2 cup of milk", "- 2 eggs"], "cup eggs"),
        (["- 12, 15"], "12 15"),
        (["- 1939: War begins", "- 1945: War ends"], "War begins War"),
        (["...!?"], ""),
        (["北京是中华人民共和国的首都,也是全国的政治中心和文化中心"], "北京是中华人民共 也是全国的政治中"),
    ],
)
def test_topics(passages, topic):
    assert topic_of(passages) == topic


def test_topics_of_a_plan_differ_where_the_words_allow():
    first = topic_of(["The first panel shows a person waking up early"])
    second = topic_of(["The second panel shows a person waking up late"], {first})
    assert first == "panel shows person" and second == "shows person waking"
    assert topic_of(["- go"], {"go"}) == "go two" and topic_of(["- go"], {"go", "go two"}) == "go three"
    assert topic_of(["Friend 1: Shall we go home?"], {"friend 1"}) == "Friend go home"
    assert topic_of(["- Tea", "- Milk"], {"tea milk"}) == "Tea Milk two"
    assert topic_of(["Is it?"], {"is it", "is it two"}) == "Is it three"
