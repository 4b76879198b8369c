"""The planner's grammar: whatever it is made to say, a round is well formed, within its room, and never stuck."""

import random

import pytest

from planned_diffusion.generation.grammar import RoundGrammar
from planned_diffusion.generation.plan import Unit, parse_round
from planned_diffusion.generation.tokens import EVERYTHING

VOCABULARY = [ord(sign) for sign in "<>[]|._$0123456789ab "]


def grammar_after(
    text: str, letters, room=60, unit=1.0, max_spans=32, may_sync=True, distinct_topics=False, **options
) -> RoundGrammar:
    grammar = RoundGrammar(letters, Unit(unit), room, max_spans, may_sync, **options)
    grammar.distinct_topics = distinct_topics
    for sign in text:
        assert ord(sign) in grammar.allowed(), f"{sign!r} is not allowed after {text[: len(grammar.ids)]!r}"
        grammar.push(ord(sign))
    return grammar


def choices(grammar: RoundGrammar) -> str:
    """The allowed tokens; every piece of a topic shows as `a`."""
    allowed = grammar.allowed()
    return "".join(sign for sign in sorted(map(chr, VOCABULARY)) if ord(sign) in allowed and sign not in "b ")


@pytest.mark.parametrize(
    "so_far, allowed",
    [
        ("", "$<"),
        ("<", "0123456789a"),
        ("<a", "0123456789a"),
        ("<a1", "0123456789>a"),
        ("<a0", "0123456789a"),  # a promise of 0 cannot be closed
        ("<a01", "0123456789>a"),
        ("<a1 ", "0123456789a"),  # the number must end the promise
        ("<a1>", "$<|"),
        ("<a1><b2>", "$<|"),
    ],
)
def test_what_may_come_next(so_far, allowed, letters):
    assert choices(grammar_after(so_far, letters)) == allowed


@pytest.mark.parametrize(
    "so_far, refused",
    [
        ("<", ""),
        ("<a1>", ""),  # between promises
        ("<a1><", "a"),
        ("<ab1><", "a"),
        ("<a1><b", ""),  # only the beginning counts
        ("<a1><b2><", "ab"),
        ("<a 1 2><", ""),  # a topic that counts
        ("<1><", ""),  # no topic
        ("<a1><1><", "a"),
    ],
)
def test_distinct_topics_begin_with_different_tokens(so_far, refused, letters):
    free, distinct = (grammar_after(so_far, letters, distinct_topics=chosen) for chosen in (False, True))
    signs = {chr(sign) for sign in VOCABULARY}
    allowed, left = ({sign for sign in signs if ord(sign) in one.allowed()} for one in (free, distinct))
    assert allowed - left == set(refused) and left <= allowed
    twin = distinct.copy()
    assert twin.allowed() == distinct.allowed()


@pytest.mark.parametrize("room", [1, 7, 8, 9, 14, 30])
@pytest.mark.parametrize("so_far", ["", "<", "<a", "<a1", "<1>", "<1>|"])
def test_the_room_forbids_no_token(room, so_far, letters):
    """A planner that may not write the number it wants writes another topic; so its plan is cut instead."""
    grammar, roomy = (
        RoundGrammar(letters, Unit(1.0), room=tokens, max_spans=32, may_sync=True) for tokens in (room, 60)
    )
    for sign in so_far:
        assert choices(grammar) == choices(roomy)
        assert roomy.push(ord(sign)) or sign == "|"
        if not grammar.push(ord(sign)):
            return
    assert choices(grammar) == choices(roomy)


# `<a2>[xy]` and a terminator are 9 tokens, `<a2><b1>[xy][z]` and one are 16.
@pytest.mark.parametrize(
    "room, says, kept, terminator",
    [
        (60, "<a2><b1>$", "<a2><b1>", "$"),
        (16, "<a2><b1>$", "<a2><b1>", "$"),
        (20, "<a2><b9>", "<a2>", None),  # the second promise is dropped when its number is known
        (15, "<a2><b", "<a2>", None),  # or as soon as no number would fit
        (9, "<a2>$", "<a2>", "$"),
        (9, "<a2><", "<a2>", None),
        (8, "<a2", "", None),
        (8, "<a1>$", "<a1>", "$"),
        (8, "<a1><", "<a1>", None),
        (8, "<aa", "", None),
        (7, "<a", "", None),
        (7, "<1>$", "<1>", "$"),
        (6, "<", "", None),
        (1, "<", "", None),
        (1, "$", "", "$"),
        (14, "<99a2>$", "<99a2>", "$"),  # a number that is too large may turn out to be a part of the topic
        (14, "<99>", "", None),
        (9, "<99", "", None),  # and here it cannot
        (10, "<a2>|", "<a2>", "|"),
        (9, "<a2>|", "<a2>", None),  # an EOS must fit behind the <sync/>
    ],
)
def test_a_promise_that_does_not_fit_is_dropped_and_ends_the_round(room, says, kept, terminator, letters):
    grammar = grammar_after(says[:-1], letters, room=room)
    assert not grammar.ended, "it ends with the last token said, no earlier"
    assert ord(says[-1]) in grammar.allowed()
    assert grammar.push(ord(says[-1])) is False and grammar.ended
    plan = grammar.round()
    assert "".join(map(chr, plan.plan_ids)) == kept and len(plan.spans) == kept.count(">")
    assert plan.terminator == (ord(terminator) if terminator else None)


def test_step_1_7_promises_7(letters):
    plan = grammar_after("<step 1 7>$", letters).round()
    assert (plan.spans[0].topic_ids, plan.spans[0].number) == (tuple(map(ord, "step 1 ")), 7)


def test_leading_zeros_do_not_count(letters):
    assert grammar_after("<a0012>$", letters).round().spans[0].number == 12


def test_topics_are_capped(letters):
    assert "a" in choices(grammar_after("<ab", letters, max_topic_tokens=4))
    assert choices(grammar_after("<aba", letters, max_topic_tokens=4)) == "123456789"
    assert choices(grammar_after("<aba1", letters, max_topic_tokens=4)) == ">"
    assert choices(grammar_after("<", letters, max_topic_tokens=1)) == "123456789"
    assert choices(grammar_after("<", letters, max_topic_tokens=2)) == "0123456789a"
    assert choices(grammar_after("<0", letters, max_topic_tokens=2)) == "123456789"
    assert choices(grammar_after("<10", letters, max_topic_tokens=2)) == ">"


def test_caps_on_spans_and_rounds(letters):
    assert choices(grammar_after("<1><1>", letters, max_spans=2)) == "$|"
    assert choices(grammar_after("<1><1>", letters, max_spans=2, may_sync=False)) == "$"
    assert choices(grammar_after("<1>", letters, may_sync=False)) == "$<"


def test_a_declined_round_is_empty(letters):
    grammar = grammar_after("", letters)
    assert grammar.push(ord("$")) is False
    assert grammar.round().spans == () and grammar.round().terminator == ord("$")


def cost(grammar: RoundGrammar) -> int:
    """Tokens that a finished round takes: promises, spans with their tags, terminator."""
    plan = grammar.round()
    return len(plan.plan_ids) + sum(2 + span.length for span in plan.spans) + (plan.terminator is not None)


def test_ten_thousand_random_planners(letters):
    choose = random.Random(0)
    endings = {"eos": 0, "sync": 0, "room": 0}
    for _ in range(10_000):
        unit = Unit(choose.choice([0.3, 1.0, 2.5, 10.0]))
        room = choose.randint(0, 120)
        max_spans = choose.randint(1, 6)
        may_sync = choose.random() < 0.5
        grammar = RoundGrammar(letters, unit, room, max_spans, may_sync, max_topic_tokens=choose.randint(1, 10))
        weights = [choose.random() ** 4 for _ in VOCABULARY]  # some planners insist on digits, some on topics, ...
        while not grammar.ended:
            allowed = grammar.allowed()
            tokens = [token for token in VOCABULARY if token in allowed]
            assert tokens, f"nothing may follow {''.join(map(chr, grammar.ids))!r} with {room} tokens of room"
            grammar.push(choose.choices(tokens, [weights[VOCABULARY.index(token)] + 1e-9 for token in tokens])[0])
        plan = grammar.round()
        endings["room" if plan.terminator is None else "eos" if plan.terminator == ord("$") else "sync"] += 1
        assert len(plan.spans) <= max_spans
        assert may_sync or plan.terminator != ord("|")
        if plan.spans:
            assert cost(grammar) <= room
            assert parse_round([*plan.plan_ids, plan.terminator or ord("$")], letters, unit).spans == plan.spans
        else:
            assert plan.plan_ids == () and plan.terminator in (None, ord("$"))
    assert min(endings.values()) > 300, endings  # all three were tried


def test_everything_is_everything():
    assert all(token in EVERYTHING for token in (0, 1, 10**6))
