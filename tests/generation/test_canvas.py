"""The canvas: positions and labels as laid out, what is stale, what a query runs, and how it reads as text."""

import pytest

from planned_diffusion.generation.decoders.canvas import Canvas
from planned_diffusion.generation.plan import Unit, parse_round
from planned_diffusion.generation.tokens import EVERYTHING


def ids(text: str) -> list[int]:
    return list(map(ord, text))


@pytest.fixture
def canvas(letters):
    """P<a2><b1>[__][_], not run yet."""
    return laid_out(letters, dense=False)


def laid_out(letters, dense: bool, separator: str = "") -> Canvas:
    canvas = Canvas(ids("P"), letters, tuple(ids(separator)))
    plan = parse_round(ids("<a2><b1>|"), letters, Unit(1.0))
    canvas.append(plan.plan_ids)
    canvas.lay_out(plan, dense)
    return canvas


def drawn(canvas: Canvas) -> dict[str, str]:
    """The canvas as aligned rows: tokens, spans, rounds, and what is blank or stale."""
    return {
        "ids": "".join(map(chr, canvas.ids)),
        "spans": "".join("." if span == -1 else str(span) for span in canvas.spans),
        "rounds": "".join(map(str, canvas.rounds)),
        "blanks": "".join("#" if place in canvas.blanks else "." for place in range(len(canvas.ids))),
        "stale": "".join("#" if place in canvas.stale else "." for place in range(len(canvas.ids))),
    }


@pytest.mark.parametrize("dense, spans", [(False, ".........0000111.2"), (True, ".........0000000.1")])
def test_layout(dense, spans, letters):
    canvas = laid_out(letters, dense)
    canvas.next_round()
    plan = parse_round(ids("<1>$"), letters, Unit(1.0))
    canvas.lay_out(plan, dense)
    assert drawn(canvas) == {
        "ids": "P<a2><b1>[__][_]|[_]",
        "spans": spans + spans[-1] * 2,
        "rounds": "00000000000000001111",
        "blanks": "..........##..#...#.",
        "stale": "####################",
    }


def test_placed_spans_know_blanks_and_extent(canvas):
    ((first, second),) = canvas.placed
    assert (list(first.positions), list(canvas.extent(first))) == ([10, 11], [9, 10, 11, 12])
    assert (list(second.positions), list(canvas.extent(second))) == ([14], [13, 14, 15])
    assert canvas.open_blanks(first) == [10, 11]
    canvas.write(10, ord("x"))
    assert canvas.open_blanks(first) == [11]


def test_a_query_runs_what_is_stale_and_predicts_from_the_left(canvas):
    query = canvas.query(canvas.stale, [10, 11, 14], EVERYTHING, "denoising")
    assert query.positions == list(range(16))
    assert query.wanted == [9, 10, 13]  # the row of p - 1 predicts p
    assert query.token_ids == canvas.ids and query.spans == canvas.spans and query.rounds == canvas.rounds
    assert not query.commits
    assert drawn(canvas)["stale"] == "." * 16


def test_touched_spans_are_stale_with_their_tags(canvas):
    canvas.query(canvas.stale, [10], EVERYTHING, "denoising")
    canvas.touch(canvas.placed[0][0])
    assert drawn(canvas)["stale"] == ".........####..."
    query = canvas.query(canvas.stale, [11], EVERYTHING, "denoising")
    assert (query.positions, query.wanted) == ([9, 10, 11, 12], [1])


def test_running_a_span_of_an_earlier_round_is_its_commit(canvas):
    canvas.query(canvas.stale, [10], EVERYTHING, "denoising")
    canvas.touch(canvas.placed[0][0])
    canvas.next_round()
    query = canvas.query(canvas.stale, [17], EVERYTHING, "planning")
    assert (query.positions, query.commits) == ([9, 10, 11, 12, 16], True)
    assert not canvas.query([16], [17], EVERYTHING, "planning").commits


def test_a_processor_sees_the_ids_so_far(canvas):
    query = canvas.query([15], [16], EVERYTHING, "planning", process=lambda so_far, scores: (len(so_far), scores))
    assert query.process("scores") == (16, "scores")
    assert canvas.query([15], [16], EVERYTHING, "planning").process is None


def test_text_is_read_up_to_the_first_blank(canvas):
    assert canvas.read_on() == ()
    canvas.write(11, ord("y"))
    canvas.write(14, ord("z"))
    assert canvas.read_on() == ()
    canvas.write(10, ord("x"))
    assert canvas.read_on() == tuple(ids("xyz"))
    assert canvas.read_on() == ()
    assert canvas.answer() == ids("Pxyz")


def test_separators_and_pads(letters):
    canvas = laid_out(letters, dense=False, separator=", ")
    for position, sign in ((10, "x"), (11, "."), (14, "z")):
        canvas.write(position, ord(sign))
    assert canvas.read_on() == tuple(ids("x, z"))


def test_words_outside_spans_are_text_and_eos_is_not(letters):
    canvas = Canvas(ids("P"), letters)
    canvas.append(ids("xy$"), text=True)
    canvas.append(ids("<a1>"))
    assert canvas.read_on() == tuple(ids("xy"))


def test_the_prompt_is_never_text(letters):
    """A prompt may hold control tags: a conversation in which an earlier answer kept its plan."""
    canvas = Canvas(ids("P<a1>[x]$Q"), letters)
    canvas.append(ids("y"), text=True)
    assert canvas.read_on() == tuple(ids("y"))
    assert canvas.written() == 1
    ended = canvas.ended("length")
    assert (ended.answer_ids, ended.written_ids) == (tuple(ids("y")), tuple(ids("y")))


def test_ended_with_blanks_left(canvas):
    canvas.write(10, ord("x"))
    canvas.write(14, ord("z"))
    ended = canvas.ended("stop")
    assert (ended.answer_ids, ended.written_ids) == (tuple(ids("x")), tuple(ids("<a2><b1>[x")))
    assert [(span.start, span.stop) for span in ended.plans[0]] == [(0, 1), (1, 1)]


def test_budget_counts_plan_and_tags(canvas):
    assert canvas.written() == len("<a2><b1>[__][_]")
