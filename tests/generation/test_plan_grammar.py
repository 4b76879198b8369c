"""The planner's grammar: whatever it is made to say, a round is well formed, within its room, and never stuck."""

import random

import pytest

from planned_diffusion.generation.grammar import RoundGrammar, shortest_round
from planned_diffusion.generation.plan import Unit, parse_round
from planned_diffusion.generation.tokens import EVERYTHING

VOCABULARY = [ord(sign) for sign in "<>[]|._$0123456789ab "]


def grammar_after(text: str, letters, room=60, unit=1.0, max_spans=32, may_sync=True, **options) -> RoundGrammar:
    grammar = RoundGrammar(letters, Unit(unit), room, max_spans, may_sync, **options)
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
    "room, so_far, allowed",
    [
        # <1> [.] and a terminator cost 3 + 3 + 1 = 7.
        (7, "<", "1"),
        (7, "<1", ">"),
        (8, "<", "012a"),  # <2>, <a1> or <01>
        (8, "<a", "1"),
        (8, "<0", "1"),
        (8, "<1", ">"),
        (8, "<2", ">"),
        (9, "<", "0123456789a"),  # <9> is too large, but <9a1> fits: the digit may turn out to be a part of the topic
        (9, "<1", ">a"),
        (9, "<9", "a"),
        (9, "<9a", "1"),
        (9, "<9a1", ">"),
        (10, "<1", "0123456789>a"),
    ],
)
def test_room_bounds_numbers_and_topics(room, so_far, allowed, letters):
    assert choices(grammar_after(so_far, letters, room=room)) == "".join(sorted(allowed))


def test_a_number_too_large_cannot_be_closed_but_can_be_left_behind(letters):
    grammar = grammar_after("<99", letters, room=14)
    assert choices(grammar) == "0123456789a"
    assert grammar_after("<99a2>$", letters, room=14).round().spans[0].number == 2


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


def test_caps_on_spans_and_rounds(letters):
    assert choices(grammar_after("<1><1>", letters, max_spans=2)) == "$|"
    assert choices(grammar_after("<1><1>", letters, max_spans=2, may_sync=False)) == "$"
    assert choices(grammar_after("<1>", letters, may_sync=False)) == "$<"


def test_no_room_for_another_promise_ends_the_round(letters):
    """The planner wants one more than fits: what it promised so far is kept, and nothing terminates it."""
    grammar = grammar_after("<1>", letters, room=10)
    assert ord("<") in grammar.allowed()
    assert grammar.push(ord("<")) is False
    assert grammar.ended and grammar.terminator is None
    plan = grammar.round()
    assert plan.terminator is None and plan.plan_ids == tuple(map(ord, "<1>")) and len(plan.spans) == 1


def test_no_room_at_all_ends_the_round_empty(letters):
    grammar = grammar_after("", letters, room=6)
    assert grammar.push(ord("<")) is False
    assert grammar.round().spans == () and grammar.round().terminator is None


def test_a_declined_round_is_empty(letters):
    grammar = grammar_after("", letters)
    assert grammar.push(ord("$")) is False
    assert grammar.round().spans == () and grammar.round().terminator == ord("$")


def test_a_sync_is_only_for_who_can_go_on(letters):
    """A `<sync/>` that takes the last token of the room would leave none for the EOS that must follow."""
    assert choices(grammar_after("<1>", letters, room=7)) == "$<"
    assert "|" in choices(grammar_after("<1>", letters, room=8))


@pytest.mark.parametrize("unit", [0.1, 1.0, 2.5, 10.0])
def test_the_shortest_round_is_the_shortest(unit, letters):
    shortest = shortest_round(Unit(unit))
    assert cost(grammar_after("<1>$", letters, room=shortest, unit=unit)) == shortest
    assert not grammar_after("", letters, room=shortest - 1, unit=unit).push(ord("<"))


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
    assert min(endings.values()) > 500, endings  # all three were tried


def test_everything_is_everything():
    assert all(token in EVERYTHING for token in (0, 1, 10**6))
