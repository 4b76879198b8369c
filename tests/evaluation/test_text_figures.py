"""Every figure of a text task on answers made by hand, with arithmetic by hand."""

import json
from dataclasses import asdict

import pytest

from planned_diffusion.evaluation.likelihood import Likelihood
from planned_diffusion.evaluation.text_answers import TextAnswer, WrittenSpan
from planned_diffusion.evaluation.text_figures import BESIDE_BASE, FIGURES, figures_of, quartiles, summarise_text
from planned_diffusion.evaluation.text_prompts import TextPrompt
from planned_diffusion.evaluation.text_report import text_tables


def answer(line=1, plans=(), text="one two three four", asks=None, kind=None, system="planned", **fields) -> TextAnswer:
    """An answer; a span is (promised, used, text)."""
    spans = tuple(tuple(WrittenSpan("topic", *span) for span in spans) for spans in plans)
    counts = {"plan_tokens": 0, "planning": 0, "forwards": 10, "critical_path": 10, "tokens": 20, "tokens_run": 50}
    rest = {"ended": "eos", "seconds": 2.0, "likelihood": Likelihood(-30.0, 20), "batch": line, **counts, **fields}
    asked = TextPrompt(line, "Why?", asks, kind)
    return TextAnswer(system, rest.pop("batch_size", 8), rest.pop("batch"), asked, text, spans, **rest)


TWO_PARTS = answer(
    1, [[(10, 8, "red apples are sweet"), (10, 10, "red apples are sour")]], "red apples are sweet red apples are sour",
    asks=True, kind="list", plan_tokens=12, planning=12, forwards=20, critical_path=20, tokens=18,
    drafts_checked=(8,), drafts_accepted=(6,),
)  # fmt: skip
TWO_ROUNDS = answer(
    2, [[(20, 5, "a b c d e"), (20, 10, "f g h"), (4, 1, "x")], [(8, 8, "a b c a b c")]],
    asks=False, kind="story", plan_tokens=20, planning=15, forwards=25, critical_path=25, tokens=24, ended="length",
    seconds=4.0, likelihood=Likelihood(-10.0, 10), drafts_checked=(7, 4, 1), drafts_accepted=(3, 1),
)  # fmt: skip
ONE_SPAN = answer(3, [[(10, 9, "a b c")]], asks=True, plan_tokens=5, planning=5, likelihood=Likelihood(0.0, 0))
PLAIN = answer(4, text="a b c a b c", kind="story", seconds=0.0, likelihood=None)


@pytest.mark.parametrize(
    ("figure", "value", "count"),
    [
        ("planned", 2 / 4, 4),
        ("planned_where_parts_are_asked", 1 / 2, 2),
        ("planned_where_no_parts_are_asked", 1, 1),
        ("parts", (2 + 4 + 1) / 3, 3),
        ("rounds", (1 + 2 + 1) / 3, 3),
        ("plan_tokens", (12 + 20 + 5) / 3, 3),
        ("plan_share", (12 + 15 + 5) / (20 + 25 + 10), 3),
        ("spans_ended", (1 + 3 + 1) / (2 + 4 + 1), 3),
        ("forwards", (20 + 25 + 10 + 10) / 4, 4),
        ("critical_path", (20 + 25 + 10 + 10) / 4, 4),
        ("tokens", (18 + 24 + 20 + 20) / 4, 4),
        ("tokens_per_forward", (18 + 24 + 20 + 20) / (20 + 25 + 10 + 10), 4),
        ("drafts_accepted", (6 + 3 + 1) / (20 + 25), 2),
        ("first_guesses_right", (6 + 3) / (8 + 7), 2),
        ("tokens_run", 50, 4),
        ("seconds", (2 + 4 + 2 + 0) / 4, 4),
        ("ended_by_eos", 3 / 4, 4),
        ("log_likelihood", (-30 / 20 - 10 / 10) / 2, 2),
        # whole texts: "red apples are" again (6 3-grams); none of 2; none of 2; abc bca cab abc
        ("repeated", (1 + 0 + 0 + 1) / (6 + 2 + 2 + 4), 4),
        # parts: none of 2 + 2; none of 3 + 1 + 1 and one of 4; none of 1; one of 4
        ("repeated_within_parts", (0 + 1 + 0 + 1) / (4 + 9 + 1 + 4), 4),
        # "red apples are"; "a b c" among {abc bcd cde} {fgh} {x} {abc bca cab}
        ("repeated_between_parts", (1 + 1) / (4 + 8), 2),
        # overlaps 1/2 of the first two parts, 1/3 of the first and last: nobody is above half
        ("twin_parts", 0, 2),
    ],
)
def test_a_figure_by_hand(figure, value, count):
    found = summarise_text([TWO_PARTS, TWO_ROUNDS, ONE_SPAN, PLAIN]).figures[figure]
    assert found.value == pytest.approx(value) and found.count == count
    assert found.low <= found.value <= found.high


def test_all_figures_have_a_row_above():
    (rows,) = [mark.args[1] for mark in test_a_figure_by_hand.pytestmark]
    assert [row[0] for row in rows] == list(FIGURES)


def test_the_table_of_drafts_has_the_systems_that_made_some():
    without, drafted = summarise_text([PLAIN]), summarise_text([TWO_PARTS, TWO_ROUNDS])
    titles = [[table.title for table in text_tables([rows], [rows])] for rows in (without, drafted)]
    assert [any("drafts" in title for title in each) for each in titles] == [False, True]
    table = next(table for table in text_tables([without, drafted], [without]) if "drafts" in table.title)
    assert table.row_count == 1 and [*table.columns[2].cells][0].startswith("0.22")
    assert [*table.columns[3].cells][0].startswith("60%")


def test_rooms_and_kinds():
    measured = summarise_text([TWO_PARTS, TWO_ROUNDS, ONE_SPAN, PLAIN])
    assert measured.promised == (9, 10, 15)  # 4 8 10 10 10 20 20
    assert measured.used == (6.5, 8, 9.5)  # 1 5 8 8 9 10 10
    assert measured.room_used == pytest.approx((0.375, 0.8, 0.95))  # 0.25 0.25 0.5 0.8 0.9 1 1
    assert {kind: found.value for kind, found in measured.kinds.items()} == {"list": 1, "story": 0.5}
    assert quartiles([]) == () and quartiles([3]) == (3, 3, 3)
    nothing = summarise_text([PLAIN])
    assert nothing.room_used == () and nothing.figures["parts"] is None and nothing.beside_base == {}


def test_planned_answers_beside_those_of_the_base():
    base = [
        answer(1, system="base", forwards=50, seconds=5.0, tokens=40, likelihood=Likelihood(-20.0, 20)),
        answer(2, system="base", forwards=40, seconds=3.0, tokens=44, likelihood=Likelihood(-60.0, 40)),
        answer(3, system="base", forwards=1000),  # to a prompt that was not planned
    ]
    beside = summarise_text([TWO_PARTS, TWO_ROUNDS, ONE_SPAN, PLAIN], base).beside_base
    assert {name: found.value for name, found in beside.items()} == pytest.approx(
        {
            "forwards": (20 + 25) / (50 + 40),
            "seconds": (2 + 4) / (5 + 3),
            "tokens": (18 + 24) / (40 + 44),
            "log_likelihood": ((-1.5 - -1) + (-1 - -1.5)) / 2,
        }
    )
    assert beside.keys() == BESIDE_BASE.keys() and {found.count for found in beside.values()} == {2}
    unscored = [answer(1, system="base", likelihood=None)]
    assert summarise_text([TWO_PARTS], unscored).beside_base["log_likelihood"] is None


def test_intervals_of_seconds_draw_whole_batches():
    together = [answer(line, seconds=line // 3, batch=line // 3) for line in range(6)]
    found = summarise_text(together).figures["seconds"]
    assert (found.value, found.count) == (0.5, 2)
    assert (found.low, found.high) == (0, 1)


def test_an_answer_survives_json():
    for one in (TWO_ROUNDS, PLAIN):
        assert TextAnswer.from_json(json.loads(json.dumps(one.as_json()))) == one
    older = {name: value for name, value in PLAIN.as_json().items() if not name.startswith("drafts")}
    assert TextAnswer.from_json(json.loads(json.dumps(older))) == PLAIN
    assert asdict(TWO_PARTS)["plans"][0][1]["text"] == "red apples are sour"
    figures = figures_of(PLAIN)
    assert figures["tokens_per_forward"] == 2 and figures["parts"] is None and figures["spans_ended"] is None
