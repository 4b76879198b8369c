"""Rules of values: whatever is drawn under them is valid, and everything valid can be drawn."""

import itertools
import random
import re

import pytest

from planned_diffusion.generation.decoders.planned import planned
from planned_diffusion.generation.plan import Plan, Unit, write_round
from planned_diffusion.generation.query import Reply
from planned_diffusion.generation.skeleton import Blank
from planned_diffusion.generation.value_rules import Choice, NumberText, TextOf, TextTokens

PAD = 99
PIECES = ["0", "1", "7", "10", "05", "-", ".", "-3", ".5", "1.", "1.5", "2.0.", "--"]
NUMBERS = dict(enumerate(PIECES))
NUMBER = re.compile(r"-?(0|[1-9]\d*)(\.\d+)?")


def walks(rule, room: int) -> set[tuple[int, ...]]:
    """Return everything that can be written into so many blanks, by trying it all."""
    found, begun = set(), [()]
    while begun:
        written = begun.pop()
        if len(written) == room:
            found.add(written)
            continue
        ids = rule.allowed(written, room - len(written)).ids
        assert ids, f"a dead end behind {written}"
        found |= {written for token in ids if token == PAD}
        begun += [(*written, token) for token in ids if token != PAD]
    return found


def every_text(tokens, room: int):
    """Yield every sequence of up to so many tokens."""
    for length in range(room + 1):
        yield from itertools.product(tokens, repeat=length)


@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize("may_be_empty", [False, True])
@pytest.mark.parametrize("room", [1, 2, 3])
def test_numbers_are_all_those_that_fit_and_no_others(whole, may_be_empty, room):
    rule = NumberText(NUMBERS, PAD, whole, may_be_empty)
    texts = {ids: "".join(PIECES[token] for token in ids) for ids in every_text(NUMBERS, room)}
    valid = {ids for ids, text in texts.items() if NUMBER.fullmatch(text) and not (whole and "." in text)}
    assert walks(rule, room) == valid | ({()} if may_be_empty else set())


@pytest.mark.parametrize("may_be_empty", [False, True])
def test_a_choice_is_one_of_its_texts(may_be_empty):
    texts = frozenset({(1,), (1, 2), (1, 2, 3), (2, 2), (3, 1, 1)})
    assert walks(Choice(texts, PAD, may_be_empty), 3) == texts | ({()} if may_be_empty else set())


@pytest.mark.parametrize(("least", "most"), [(0, 2), (1, 3), (3, 3), (4, 6), (0, 100), (3, 100)])
@pytest.mark.parametrize("may_be_empty", [False, True])
def test_texts_have_the_length_that_is_asked_for(least, most, may_be_empty):
    lengths = {0: 1, 1: 2, 2: 3}
    room = max(least, min(most, 4))
    rule = TextOf(TextTokens(lengths, PAD), least, most, may_be_empty)
    size = lambda ids: sum(lengths[token] for token in ids)  # noqa: E731
    valid = {ids for ids in every_text(lengths, room) if least <= size(ids) <= most}
    assert walks(rule, room) == valid | ({()} if may_be_empty else set())


ENDS = frozenset({97, 98})


@pytest.mark.parametrize(
    "rule",
    [
        NumberText(NUMBERS, PAD, False, ends=ENDS),
        Choice(frozenset({(1,), (1, 2)}), PAD, ends=ENDS),
        TextOf(TextTokens({0: 1, 1: 2}, PAD, ENDS), 1, 3),
    ],
)
def test_further_tokens_end_a_value_where_a_pad_may(rule):
    """They stand for a pad; where nothing but an end is left there is no choice."""
    for written in walks_with(rule, 3):
        ids = rule.allowed(written, 3 - len(written)).ids
        assert (PAD in ids) >= bool(ids & ENDS)
        assert not (PAD in ids and len(ids) > 1) or ids >= ENDS


def walks_with(rule, room: int) -> list[tuple[int, ...]]:
    """Return everything that is begun in so many blanks, and not full."""
    begun, found = [()], []
    while begun:
        written = begun.pop()
        if len(written) < room:
            found.append(written)
            ids = rule.allowed(written, room - len(written)).ids
            begun += [(*written, token) for token in ids - ENDS - {PAD}]
    return found


# In a canvas


def spelled(text: str) -> list[int]:
    return list(map(ord, text))


def test_values_are_written_side_by_side(drive, request_in_letters, letters):
    """One token of every value per forward; what leaves no choice needs none, and a pad ends a value."""
    from dataclasses import replace

    pad = letters.span_pad
    yes_or_no = Choice(frozenset({tuple(spelled("yes")), tuple(spelled("no"))}), pad)
    text = TextOf(TextTokens(dict.fromkeys(spelled("abcx"), 1), pad, frozenset(spelled(")"))), 0, 9)
    pieces = ["(", Blank(3, rule=yes_or_no), ",", Blank(4, rule=text), ")"]
    part = write_round([(spelled("a"), pieces)], letters.eos[0], letters, Unit(1.0), spelled)
    request = replace(request_in_letters(), plan=Plan((part,)))
    allowed = []

    def answer(query):
        allowed.append(query.allowed)
        places = [query.positions[index] + 1 for index in query.wanted]
        tokens = [ord("P<a10>[(y??,ab)?)]"[place]) for place in places]  # the model goes on behind the text
        assert all(token in one for token, one in zip(tokens, query.allowed, strict=True))
        return Reply(tokens, [0.0] * len(tokens), [1.0] * len(tokens))

    played = drive(planned(request), answer)
    assert played.answer == "(yes,ab)$"
    assert played.steps == ["8:y 12:a", "9:e", "10:s", "13:b", "14:. 15:."]
    assert len(played.queries) == 3
    assert allowed[0][0].ids == frozenset(spelled("yn")) and allowed[0][1].ids == frozenset({*spelled("abcx)"), pad})


def test_random_values_with_a_model_are_valid(build_model):
    import torch

    model, noise = build_model(tokens_per_length_unit=1), random.Random(0)
    digits = {15 + digit: str(digit) for digit in range(10)} | {12: "-", 13: "."}
    for seed, attention in itertools.product(range(10), ("sparse", "dense")):
        rule = NumberText(digits, 107, whole=noise.random() < 0.5)
        pieces = [[40], Blank(noise.randrange(1, 7), rule=rule), [41], Blank(2), [42]]
        out = model.generate(
            torch.tensor([[5, 60, 33]]), plan=[[[([30], pieces), ([31], 3)]]], max_new_tokens=60, do_sample=True,
            seed=seed, span_attention=attention, return_dict_in_generate=True,
        )  # fmt: skip
        span = out.plans[0][0][0]
        ids = out.sequences[0, span.start : span.stop].tolist()
        text = "".join(digits[token] for token in ids[1 : ids.index(41)])
        assert NUMBER.fullmatch(text) and not (rule.whole and "." in text)


@pytest.mark.parametrize("attention", ["sparse", "dense"])
def test_values_equal_a_slow_reading(attention, build_model):
    """By hand, everything recomputed: every value gets its likeliest allowed token, with the whole form in sight."""
    import torch

    model, prompt = build_model(tokens_per_length_unit=1), [5, 60, 33]
    digits = {15 + digit: str(digit) for digit in range(10)} | {12: "-", 13: "."}
    rules = [NumberText(digits, 107, whole=False), TextOf(TextTokens({33: 1, 34: 2, 35: 1, 36: 3}, 107), 2, 5)]
    pieces = [[40], Blank(4, rule=rules[0]), [41], Blank(3, rule=rules[1]), [42]]
    fields = {"max_new_tokens": 60, "keep_plan": True, "span_attention": attention}
    written = model.generate(torch.tensor([prompt]), plan=[[[([30], pieces)]]], **fields)[0].tolist()
    ids = [*prompt, 104, 30, 16, 15, 105, 102, 40, *[101] * 4, 41, *[101] * 3, 42, 103]
    form = range(ids.index(102), len(ids))
    visible = torch.ones(len(ids), len(ids), dtype=torch.bool).tril()
    visible[form.start :, form.start :] = True
    values = [[range(form.start + 2, form.start + 6), ()], [range(form.start + 7, form.start + 10), ()]]
    while any(len(tokens) < len(places) for places, tokens in values):
        with torch.no_grad():
            logits = model(torch.tensor([ids]), attention_mask=visible[None, None]).logits[0].float()
        sets = [
            sorted(rule.allowed(tokens, len(places) - len(tokens)).ids) if len(tokens) < len(places) else []
            for rule, (places, tokens) in zip(rules, values, strict=True)
        ]
        sure = [len(one) == 1 for one in sets]
        for one, value, is_sure in zip(sets, values, sure, strict=True):
            if one and is_sure == any(sure):
                places, tokens = value
                place = places.start + len(tokens)
                token = max(one, key=lambda token: logits[place - 1, token].item())
                count = len(places) - len(tokens) if token == 107 else 1
                value[1] = (*tokens, *[token] * count)
                ids[place : place + count] = [token] * count
    assert written == [*ids, 100]


def test_mixed_with_other_requests_values_are_the_same(build_model):
    import torch

    model = build_model(tokens_per_length_unit=1)
    rule = TextOf(TextTokens({33: 1, 34: 2, 35: 1, 36: 3}, 107), 2, 9)
    prompts = torch.tensor([[5, 60, 33], [7, 8, 9]])
    plans = [[[([30], [[40], Blank(6, rule=rule), [41]]), ([31], 4)]], [[([31], 6)]]]
    fields = {"max_new_tokens": 60, "do_sample": True, "seed": 5}
    alone = [model.generate(prompts[row : row + 1], plan=[plans[row]], **fields)[0].tolist() for row in (0, 1)]
    both = model.generate(prompts, plan=plans, pad_token_id=99, **fields)
    for row, expected in zip(both.tolist(), alone, strict=True):
        assert row[: len(expected)] == expected
