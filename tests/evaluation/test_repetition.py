"""Word 3-grams within and between parts, counted by hand."""

import pytest

from planned_diffusion.evaluation.repetition import overlap, repeated_between, repeated_within, twins, word_ngrams


@pytest.mark.parametrize(
    ("text", "grams"),
    [
        ("", []),
        (" ... ", []),
        ("Paris", [("paris",)]),
        ("Paris, then", [("paris", "then")]),
        ("It's the 2nd DAY", [("it's", "the", "2nd"), ("the", "2nd", "day")]),
        ("über alle\nBerge", [("über", "alle", "berge")]),
    ],
)
def test_words_and_their_3_grams(text, grams):
    assert word_ngrams(text) == grams


def test_repetition_within_parts():
    assert repeated_within(["a b c d e"]) == (0, 3)
    assert repeated_within(["a b c a b c"]) == (1, 4)  # abc bca cab abc
    assert repeated_within(["a a a a a"]) == (2, 3)
    assert repeated_within(["a b c a b c", "A b, c!"]) == (1, 5)  # what another part says does not count
    assert repeated_within([""]) == (0, 0)


def test_repetition_between_parts():
    assert repeated_between(["a b c d", "x a b c"]) == (1, 4)  # {abc bcd} {xab abc}
    assert repeated_between(["a b c a b c", "x y z"]) == (0, 4)  # repeated within one part only
    assert repeated_between(["a b c", "a b c", "a b c"]) == (2, 3)
    assert repeated_between(["", "a b c"]) == (0, 1)


def test_twins_say_mostly_the_same():
    assert overlap("a b c d e", "a b c d x") == 2 / 3
    assert overlap("a b c", "x y a b c z") == 1.0  # the shorter one is all in the other
    assert overlap("a b c d", "a b c x") == 0.5
    assert overlap("", "a b c") == overlap("", "") == 0.0
    assert twins(["a b c d e", "a b c d x", "p q r", ""]) == (2, 4)
    assert twins(["a b c d", "a b c x"]) == (0, 2)  # half is not above half
    assert twins(["Paris", "paris."]) == (2, 2)
