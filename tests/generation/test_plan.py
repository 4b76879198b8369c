"""Plans as ids: what is read, what is written, what is refused. In letters: `<a2>` promises 2 for topic "a"."""

import random
from dataclasses import replace

import pytest

from planned_diffusion.generation.plan import (
    Plan,
    PlanError,
    Round,
    Span,
    Unit,
    parse_round,
    render_promise,
    write_round,
)
from planned_diffusion.generation.tokens import Allowed

TENS = Unit(10.0)


def ids(text: str) -> list[int]:
    return list(map(ord, text))


def read(text: str, letters, unit: Unit = TENS) -> Round:
    return parse_round(ids(text), letters, unit)


@pytest.mark.parametrize(
    "text, spans",
    [
        ("<a2>$", [("a", 2)]),
        ("<a2>|", [("a", 2)]),
        ("<ab12><c3>$", [("ab", 12), ("c", 3)]),
        ("<7>$", [("", 7)]),
        ("<step 1 7>$", [("step 1 ", 7)]),  # the last number counts
        ("<4 of 12>$", [("4 of ", 12)]),
        ("<a007>$", [("a", 7)]),
        ("<a10>$", [("a", 10)]),
        ("<a3 words>$", [("a", 3)]),  # what follows the number is dropped
    ],
)
def test_reading(text, spans, letters):
    plan = read(text, letters)
    assert [("".join(map(chr, span.topic_ids)), span.number) for span in plan.spans] == spans
    assert [span.length for span in plan.spans] == [10 * number for _, number in spans]
    assert plan.plan_ids == tuple(ids(text[:-1]))
    assert plan.terminator == ord(text[-1])


def test_any_eos_ends_a_plan(letters):
    two = replace(letters, eos=(ord("$"), ord("€")))
    assert read("<a2>€", two).terminator == ord("€")


@pytest.mark.parametrize(
    "text, message",
    [
        ("", r"ends in nothing; a round's plan ends in <sync/> \(124\).*EOS \(36\)"),
        ("<a2>", r"ends in 62; a round's plan ends in <sync/>"),
        ("<a2", r"ends in 50; a round's plan ends in"),
        ("$", r"promises nothing; give at least one promise"),
        ("<a2$", r"place 0 of the plan is never closed; end it with </topic> \(62\)"),
        ("<a2><b$", r"place 4 of the plan is never closed"),
        ("<a>$", r"place 0 of the plan has no number; write its length"),
        ("<>$", r"place 0 of the plan has no number"),
        ("<a2><b>$", r"place 4 of the plan has no number"),
        ("<a0>$", r"place 0 of the plan has length 0; promise at least 1"),
        ("<a 2 00>$", r"has length 0"),
        ("<a<b2>$", r"place 0 of the plan has control token 60 inside; promises do not nest"),
        ("<a[2>$", r"control token 91 inside"),
        ("<a|2>$", r"control token 124 inside"),
        ("<a$2>$", r"control token 36 inside"),
        ("<a_2>$", r"control token 95 inside"),
        ("x<a2>$", r"Token 120 stands at place 0 of the plan, outside every promise"),
        ("<a2> <b2>$", r"Token 32 stands at place 4 of the plan"),
        ("<a2>[xy]$", r"Token 91 stands at place 4"),
        ("<a2>|<b2>$", r"Token 124 stands at place 4"),
    ],
)
def test_refused(text, message, letters):
    with pytest.raises(PlanError, match=message):
        read(text, letters)


def test_a_plan_error_is_a_value_error():
    assert issubclass(PlanError, ValueError)


@pytest.mark.parametrize("digits", [400, 5000])
def test_an_enormous_number_is_refused_in_words(digits, letters):
    with pytest.raises(PlanError):
        read(f"<a{'9' * digits}>$", letters)


def test_render_and_parse_are_inverse(letters):
    choose = random.Random(0)
    for _ in range(500):
        spans = []
        for _ in range(choose.randint(1, 5)):
            topic = "".join(choose.choices("ab 0123456789", k=choose.randint(0, 8))).rstrip("0123456789")
            spans.append((tuple(ids(topic)), choose.randint(1, 999)))
        written = [token for topic, number in spans for token in render_promise(topic, number, letters)]
        plan = parse_round([*written, ord("$")], letters, TENS)
        assert [(span.topic_ids, span.number) for span in plan.spans] == spans
        assert plan.plan_ids == tuple(written)


def test_render_spells_the_number_digit_by_digit(letters):
    assert "".join(map(chr, render_promise(ids("ab "), 120, letters))) == "<ab 120>"


@pytest.mark.parametrize(
    "tokens, number, length",
    [(10.0, 1, 10), (10.0, 3, 30), (1.0, 7, 7), (0.5, 1, 1), (0.5, 3, 2), (2.5, 3, 8), (0.01, 1, 1), (0.1 * 3, 10, 3)],
)
def test_room_of_a_number(tokens, number, length):
    assert Unit(tokens).length(number) == length


def test_promised_room_is_never_short():
    for tokens in (0.1, 0.3, 0.7, 1.0, 2.5, 3.3, 10.0, 12.0):
        unit = Unit(tokens)
        for length in range(1, 300):
            number = unit.number(length)
            assert unit.length(number) >= length
            assert number == 1 or (number - 1) * tokens < length  # and no larger than needed


def test_writing_a_round_from_pairs(letters):
    plan = write_round([("cause", 12), (ids("x1 "), 5)], ord("|"), letters, TENS, ids)
    assert "".join(map(chr, plan.plan_ids)) == "<cause 2><x1 1>"
    # The room is the length given.
    assert plan.spans == (Span(tuple(ids("cause ")), 2, 12), Span(tuple(ids("x1 ")), 1, 5))
    assert plan.terminator == ord("|")


@pytest.mark.parametrize(
    "parts, message",
    [
        ([], r"A round of the plan is empty; give at least one \(topic, length in tokens\) pair"),
        (["cause"], r"A part of the plan is 'cause'; give a \(topic, length in tokens\) pair"),
        ([("cause",)], r"A part of the plan is \('cause',\)"),
        ([("cause", 1, 2)], r"A part of the plan is"),
        ([None], r"A part of the plan is None"),
        ([("cause", 0)], r"The part 'cause' of the plan has length 0; give a whole number of tokens, at least 1"),
        ([("cause", -3)], r"has length -3"),
        ([("cause", 2.5)], r"has length 2.5"),
        ([("cause", "2")], r"has length '2'"),
        ([("cause", True)], r"has length True"),
        ([("a<b", 2)], r"The topic 'a<b' contains control tokens; a topic is ordinary text"),
        ([("a$", 2)], r"The topic 'a\$' contains control tokens"),
        ([(ids("a["), 2)], r"contains control tokens"),
    ],
)
def test_pairs_refused(parts, message, letters):
    with pytest.raises(PlanError, match=message):
        write_round(parts, ord("$"), letters, TENS, ids)


def test_an_enormous_length_is_refused_in_words(letters):
    with pytest.raises(PlanError):
        write_round([("a", 10**400)], ord("$"), letters, TENS, ids)


def test_topic_ids_that_run_into_the_number_are_refused(letters):
    """Topic ids "x1" and number 5 would read as a promise of 15."""
    with pytest.raises(PlanError, match="digit"):
        write_round([(ids("x1"), 50)], ord("$"), letters, TENS, ids)


def test_allowed_is_a_set_or_its_complement():
    some = frozenset({1, 2})
    assert 1 in Allowed(only=True, ids=some) and 3 not in Allowed(only=True, ids=some)
    assert 1 not in Allowed(only=False, ids=some) and 3 in Allowed(only=False, ids=some)


def test_nouns_are_frozen():
    span = Span((), 1, 1)
    for noun, name in ((span, "length"), (Round((span,), (), None), "spans"), (Plan(()), "rounds"), (TENS, "tokens")):
        with pytest.raises(AttributeError):
            setattr(noun, name, 5)
