"""The event stream of a request, and what is folded from it: the board that viewers show, and the trace."""

import pytest

from planned_diffusion.generation.decoders.autoregressive import autoregressive
from planned_diffusion.generation.events import (
    Ended,
    FinishedSpan,
    Forward,
    PlacedSpan,
    PlanDone,
    PlanToken,
    RoundClosed,
    SpanClosed,
    Text,
    TokensWritten,
)
from planned_diffusion.generation.live_state import LiveState
from planned_diffusion.generation.trace import TraceRecorder

# The second span is written first, and the first one from behind.
OUT_OF_ORDER = {
    "says": "<a2><b1>|<c1>$",
    "fills": "P<a2><b1>[xy][z]|<c1>[w]$",
    "scores": ".........." + "12" + ".." + "9",
}


def ids(text: str) -> tuple[int, ...]:
    return tuple(map(ord, text))


def brief(event) -> str:
    """One event in a few letters."""
    if isinstance(event, PlanToken):
        return f"plan {event.position}:{chr(event.token_id)}"
    if isinstance(event, PlanDone):
        return f"canvas {' '.join(f'{span.start}-{span.stop}' for span in event.spans)}"
    if isinstance(event, TokensWritten):
        pairs = zip(event.positions, event.token_ids, strict=True)
        return f"write {' '.join(f'{position}:{chr(token)}' for position, token in pairs)}"
    if isinstance(event, SpanClosed):
        return f"closed {event.span.index} {''.join(map(chr, event.token_ids))}"
    if isinstance(event, RoundClosed):
        return f"round {event.round}"
    if isinstance(event, Text):
        return f"text {''.join(map(chr, event.token_ids))}"
    return f"ended {event.reason}"


def test_the_whole_stream(play):
    assert list(map(brief, play(**OUT_OF_ORDER).events)) == [
        *["plan 1:<", "plan 2:a", "plan 3:2", "plan 4:>", "plan 5:<", "plan 6:b", "plan 7:1", "plan 8:>"],
        "canvas 10-12 14-15",
        "write 11:y 14:z",
        "closed 1 z",
        "write 10:x",
        "closed 0 xy",
        "text xyz",
        "round 0",
        *["plan 17:<", "plan 18:c", "plan 19:1", "plan 20:>"],
        "canvas 22-23",
        "write 22:w",
        "closed 0 w",
        "text w",
        "round 1",
        "ended eos",
    ]


def test_events_carry_their_round(play):
    events = play(**OUT_OF_ORDER).of(PlanToken, PlanDone, TokensWritten, SpanClosed, RoundClosed)
    rounds = [event.round for event in events]
    assert rounds == sorted(rounds) and set(rounds) == {0, 1}


def test_events_carry_what_chose_them(play):
    played = play(**OUT_OF_ORDER)
    assert [event.scores for event in played.of(TokensWritten)] == [(0.2, 0.9), (0.1,), (-23.0,)]
    first, second = played.of(PlanDone)
    assert first.spans == (PlacedSpan(0, ids("a"), 10, 12), PlacedSpan(1, ids("b"), 14, 15))
    assert first.promises.plan_ids == ids("<a2><b1>") and first.promises.terminator == ord("|")
    assert (second.promises.terminator, second.spans[0].positions) == (ord("$"), range(22, 23))


def test_text_comes_in_reading_order_whatever_the_order_of_writing(play):
    played = play(says="<a3><b2>$", fills="P<a3><b2>[uvw][xy]$", scores="..........192..89")
    assert [brief(event) for event in played.of(Text)] == ["text uvwxy"]
    played = play(says="<a3><b2>$", fills="P<a3><b2>[uvw][xy]$", scores="..........921..89")
    assert [brief(event) for event in played.of(Text)] == ["text u", "text v", "text wxy"]


@pytest.mark.parametrize("script", [OUT_OF_ORDER, {"says": "xyz$"}, {"says": "$"}, {**OUT_OF_ORDER, "separator": ", "}])
def test_text_events_add_up_to_the_answer(play, script):
    played = play(**script)
    text = tuple(token for event in played.of(Text) for token in event.token_ids)
    assert (*text, ord("$")) == played.ended.answer_ids


def test_pads_are_no_text(play):
    played = play(says="<a3><b1>$", fills="P<a3><b1>[x..][y]$")
    assert [brief(event) for event in played.of(Text)] == ["text x", "text y"]


def test_plain_text_is_written_token_by_token(play):
    assert list(map(brief, play(says="xy$").events)) == [
        "write 1:x", "text x", "write 2:y", "text y", "write 3:$", "ended eos"
    ]  # fmt: skip


def test_left_to_right(play):
    played = play(says="xy$", decoder=autoregressive)
    assert list(map(brief, played.events)) == ["write 1:x", "text x", "write 2:y", "text y", "write 3:$", "ended eos"]
    assert [(query.purpose, query.positions) for query in played.queries] == [
        ("decoding", [0]), ("decoding", [1]), ("decoding", [2])
    ]  # fmt: skip


def test_left_to_right_never_writes_a_tag(play, letters):
    (query, *_) = play(says="x$", decoder=autoregressive).queries
    assert {chr(token) for token in letters.all if token in query.allowed} == {"$"}


def test_given_plans_are_not_drawn(play):
    played = play(fills="P<a1>[x]$", plan=["<a1>$"])
    assert list(map(brief, played.events)) == [
        "canvas 6-7", "write 6:x", "closed 0 x", "text x", "round 0", "ended eos"
    ]  # fmt: skip


def test_board_shows_what_is_written_and_what_is_not():
    board = LiveState()
    spans = (PlacedSpan(0, (), 10, 13), PlacedSpan(1, (), 15, 17))
    drafts = []
    for event in [
        PlanToken(0, 1, ord("<")),
        PlanToken(0, 2, ord("1")),
        PlanDone(0, None, spans),
        TokensWritten(0, (11, 15), ids("by"), (0.0, 0.0)),
        TokensWritten(0, (10,), ids("a"), (0.0,)),
        Text(ids("ab")),
        TokensWritten(0, (12, 16), ids("cz"), (0.0, 0.0)),
        Text(ids("cyz")),
        RoundClosed(0),
        PlanToken(1, 18, ord("<")),
    ]:
        board.add(event)
        drafts.append("".join(map(chr, board.draft(ord("_")))))
    assert drafts == ["", "", "_____", "_b_y_", "_y_", "_y_", "", "", "", ""]
    assert "".join(map(chr, board.text_ids)) == "abcyz"
    assert board.plan_ids == [ord("<")]  # of the round being planned


def test_trace_counts_forwards_by_purpose():
    recorder = TraceRecorder(keep_steps=True)
    step = TokensWritten(0, (11, 12), ids("ab"), (0.5, 0.25))
    for event in [
        *[Forward("planning", 5, False), PlanToken(0, 9, 1)] * 3,
        Forward("denoising", 6, False),
        step,
        Text(ids("ab")),
        Forward("planning", 7, True),
        Forward("decoding", 1, False),
        Text(ids("c")),
        Ended("eos", (), ()),
    ]:
        recorder.add(event)
    trace = recorder.trace()
    assert (trace.forwards, trace.planning, trace.denoising, trace.decoding) == (6, 4, 1, 1)
    assert (trace.commits, trace.critical_path, trace.tokens, trace.tokens_run) == (1, 6, 3, 29)
    assert trace.steps == (step,)
    assert trace.seconds > 0


def test_trace_keeps_steps_only_when_asked():
    recorder = TraceRecorder()
    recorder.add(TokensWritten(0, (1,), (1,), (0.0,)))
    assert recorder.trace().steps == ()


def test_finished_spans_know_their_topic_later():
    assert FinishedSpan((1,), 3, 0, 2).topic is None
