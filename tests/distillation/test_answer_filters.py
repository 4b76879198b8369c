"""Every rule has an answer that it alone drops."""

import pytest

from planned_diffusion.distillation.answer_filters import (
    DUPLICATE,
    RULES,
    AnsweredPrompt,
    filtered,
    repeated_share,
)

GOOD = "1. Wear good shoes. 2. Drink water. 3. Begin with a short walk."


def answered(answer, prompt="Give three tips for running.", parts=True, ended="eos"):
    return AnsweredPrompt(prompt, answer, parts, ended)


BROKEN = [
    ("cut", answered(GOOD, ended="length")),
    ("short", answered("1. Shoes")),
    ("short", answered("...", parts=False)),
    ("short", answered("  \n", parts=None)),
    ("tags", answered(GOOD + "<async>")),
    ("tags", answered(GOOD + "<|im_start|>")),
    ("refusal", answered("I'm sorry, but as an AI I have no legs, so ask somebody else.")),
    ("refusal", answered("I cannot provide tips, so please ask a coach or a friend.")),
    ("refusal", answered("I don’t have personal experiences, though many people like to run.")),
    ("form", answered("Wear shoes, drink water, and keep in mind that this is a numbered list.")),
    ("foreign", answered("Бегайте медленно, пейте воду и носите хорошую обувь каждый день.")),
    ("foreign", answered("1. Wear good shoes. 2. Drink water. 3. Begin with a short walk\N{REPLACEMENT CHARACTER}")),
    ("repetitive", answered("Run in the park. Run in the park. Run in the park again today.")),
]


@pytest.mark.parametrize(("rule", "one"), BROKEN)
def test_a_rule_alone_drops_its_answer(rule, one):
    assert [name for name, breaks in RULES.items() if breaks(one)] == [rule]
    assert list(filtered([one])) == [rule]


def test_every_rule_has_an_example():
    assert {rule for rule, _ in BROKEN} == RULES.keys()


@pytest.mark.parametrize(
    "one",
    [
        answered(GOOD),
        answered("12", prompt="What is 7 plus 5?", parts=False),
        answered("Visit the café Zoë, the Musée d'Orsay and the river.", prompt="Plan a day in Paris."),
        answered("I cannot wait for summer, and I can't sleep at night.", prompt="Write a poem.", parts=False),
        answered("Dear Anna, I am sorry, but I am unable to attend your party.", parts=False),
        answered("Here is one sentence for each.", prompt="Write one sentence for each: cats, dogs.", parts=True),
    ],
)
def test_good_answers_stay(one):
    assert list(filtered([one])) == [None]


def test_a_long_answer_is_kept_once_and_a_short_one_as_often_as_it_comes():
    long, short = answered(GOOD), answered("The capital is Paris.", parts=False)
    again = answered(GOOD.replace("Wear", "WEAR") + " ", prompt="Name three tips for running.")
    assert list(filtered([long, short, again, short])) == [None, None, DUPLICATE, None]


def test_an_answer_that_was_dropped_makes_no_duplicates():
    assert list(filtered([answered(GOOD, ended="length"), answered(GOOD)])) == ["cut", None]


@pytest.mark.parametrize(
    ("text", "share"),
    [("", 0), ("one two", 0), ("a b c a b c", 1 / 4), ("A, b. c! a b c", 1 / 4), ("a a a a", 1 / 2), ("a b c d", 0)],
)
def test_the_repeated_share_by_hand(text, share):
    assert repeated_share(text) == share
