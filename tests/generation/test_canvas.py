"""The canvas: positions and labels as laid out, what is stale, what a query runs, and how it reads as text."""

from dataclasses import replace

import pytest

from planned_diffusion.generation.decoders.canvas import Canvas, open_blanks
from planned_diffusion.generation.fields import Settings
from planned_diffusion.generation.plan import Unit, parse_round
from planned_diffusion.generation.query import Drawn, Request
from planned_diffusion.generation.tokens import EVERYTHING


def ids(text: str) -> list[int]:
    return list(map(ord, text))


@pytest.fixture
def canvas(letters):
    """P<a2><b1>[__][_], not run yet."""
    return laid_out(letters, dense=False)


def blank_canvas(letters, prompt: str = "P", separator: str = "") -> Canvas:
    return Canvas(Request(tuple(ids(prompt)), letters, Unit(1.0), Settings(100), separator_ids=tuple(ids(separator))))


def fill(canvas: Canvas, **tokens: str) -> None:
    """fill(canvas, at10="x") writes one token."""
    canvas.write({int(place[2:]): Drawn(ord(sign), 0.0, 0.5) for place, sign in tokens.items()})


def laid_out(letters, dense: bool, separator: str = "") -> Canvas:
    canvas = blank_canvas(letters, separator=separator)
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
    canvas.next_round(ids("|"))
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
    assert (list(first.positions), list(first.extent)) == ([10, 11], [9, 10, 11, 12])
    assert (list(second.positions), list(second.extent)) == ([14], [13, 14, 15])
    assert open_blanks(canvas, first) == [10, 11]
    fill(canvas, at10="x")
    assert open_blanks(canvas, first) == [11]


def test_a_query_runs_what_is_stale_and_predicts_from_the_left(canvas):
    query = canvas.query(canvas.stale, [10, 11, 14], EVERYTHING, "denoising")
    assert query.positions == list(range(16))
    assert query.wanted == [9, 10, 13]  # the row of p - 1 predicts p
    assert query.token_ids == canvas.ids and query.spans == canvas.spans and query.rounds == canvas.rounds
    assert not query.commits
    assert drawn(canvas)["stale"] == "." * 16


def test_touched_spans_are_stale_with_their_tags(canvas):
    canvas.query(canvas.stale, [10], EVERYTHING, "denoising")
    canvas.stale.update(canvas.placed[0][0].extent)
    assert drawn(canvas)["stale"] == ".........####..."
    query = canvas.query(canvas.stale, [11], EVERYTHING, "denoising")
    assert (query.positions, query.wanted) == ([9, 10, 11, 12], [1])


def test_running_a_span_of_an_earlier_round_is_its_commit(canvas):
    canvas.query(canvas.stale, [10], EVERYTHING, "denoising")
    canvas.stale.update(canvas.placed[0][0].extent)
    canvas.next_round(ids("|"))
    query = canvas.query(canvas.stale, [17], EVERYTHING, "planning")
    assert (query.positions, query.commits) == ([9, 10, 11, 12, 16], True)
    assert not canvas.query([16], [17], EVERYTHING, "planning").commits


def test_a_processor_sees_the_ids_so_far(letters):
    request = Request(tuple(ids("P")), letters, Unit(1.0), Settings(9), process=lambda so_far, scores: (so_far, scores))
    assert request.process_after(ids("Pab"))("scores") == (ids("Pab"), "scores")
    assert replace(request, process=None).process_after(ids("P")) is None


def test_text_is_read_up_to_the_first_blank(canvas):
    assert canvas.prose.read_on() == ()
    fill(canvas, at11="y")
    fill(canvas, at14="z")
    assert canvas.prose.read_on() == ()
    fill(canvas, at10="x")
    assert canvas.prose.read_on() == tuple(ids("xyz"))
    assert canvas.prose.read_on() == ()


def test_a_stopping_criterion_is_asked_with_prompt_and_text(letters):
    asked = []
    request = Request(tuple(ids("P")), letters, Unit(1.0), Settings(9), should_stop=lambda so_far: asked.append(so_far))
    canvas = Canvas(request)
    canvas.append(ids("xy"), is_text=True)
    assert canvas.prose.read_on() == tuple(ids("xy"))
    assert asked == [ids("Px"), ids("Pxy")] and not canvas.prose.stopped


def test_a_plan_token_that_was_taken_back_is_fresh_where_it_comes_again(letters):
    canvas = blank_canvas(letters)
    canvas.append(ids("<a1"))
    canvas.query(canvas.stale, [], EVERYTHING, "planning")
    canvas.take_back(2)  # P< is left
    assert canvas.append_again(ord("a")) == 2 and not canvas.stale
    assert canvas.append_again(ord("2")) == 3 and canvas.stale == {3}
    assert canvas.query([1], [2], EVERYTHING, "planning").forget == [3]


def test_separators_and_pads(letters):
    canvas = laid_out(letters, dense=False, separator=", ")
    fill(canvas, at10="x", at11=".", at14="z")
    assert canvas.prose.read_on() == tuple(ids("x, z"))


def test_words_outside_spans_are_text_and_eos_is_not(letters):
    canvas = blank_canvas(letters)
    canvas.append(ids("xy$"), is_text=True)
    canvas.append(ids("<a1>"))
    assert canvas.prose.read_on() == tuple(ids("xy"))


def test_the_prompt_is_never_text(letters):
    """A prompt may hold control tags: a conversation in which an earlier answer kept its plan."""
    canvas = blank_canvas(letters, prompt="P<a1>[x]$Q")
    canvas.append(ids("y"), is_text=True)
    assert canvas.prose.read_on() == tuple(ids("y"))
    assert canvas.room_used == 1
    ended = canvas.prose.ended("length")
    assert (ended.answer_ids, ended.written_ids) == (tuple(ids("y")), tuple(ids("y")))


def test_ended_with_blanks_left(canvas):
    fill(canvas, at10="x")
    fill(canvas, at14="z")
    ended = canvas.prose.ended("stop")
    assert (ended.answer_ids, ended.written_ids) == (tuple(ids("x")), tuple(ids("<a2><b1>[x")))
    assert [(span.start, span.stop) for span in ended.plans[0]] == [(0, 1), (1, 1)]


def test_budget_counts_plan_and_tags(canvas):
    assert canvas.room_used == len("<a2><b1>[__][_]")
