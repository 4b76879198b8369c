"""Answers without plan and tags, exactly, from a scripted model: plain diffusion, Fast-dLLM, block diffusion.

In letters: `_` is a blank, `.` a pad, `$` EOS. The prompt is `P`, so that the answer starts at position 1.
"""

import pytest

from planned_diffusion.generation.decoders.block_diffusion import block_diffusion
from planned_diffusion.generation.decoders.diffusion import diffusion
from planned_diffusion.generation.decoders.fast_dllm import fast_dllm
from planned_diffusion.generation.events import BlanksPlaced, Forward, RoundClosed, SpanClosed, Text


@pytest.fixture
def write(play, letters):
    """play, with EOS and pads allowed in the answer, as `generate` sets it for these decoders."""

    def run(decoder, fills, scores="", room=None, **fields):
        fields = {"suppress_in_spans": letters.tags - {letters.span_pad}, **fields}
        return play(decoder=decoder, fills="P" + fills, scores=scores, max_new_tokens=room or len(fills), **fields)

    return run


def runs(played) -> list[str]:
    """Per forward the positions run and, behind a colon, those predicted."""
    return [
        f"{query.positions[0]}-{query.positions[-1]}:" + ",".join(str(query.positions[i] + 1) for i in query.wanted)
        for query in played.queries
    ]


# Where an answer ends


@pytest.mark.parametrize(
    "fills, answer, written, ended",
    [
        ("abcdef", "abcdef", "abcdef", "length"),
        ("abc$..", "abc$", "abc$", "eos"),
        ("abc$xy", "abc$", "abc$", "eos"),
        ("abc..x", "abc$", "abc$", "eos"),  # a pad ends an answer too
        ("$.....", "$", "$", "eos"),
    ],
)
@pytest.mark.parametrize("decoder", [diffusion, fast_dllm, block_diffusion])
@pytest.mark.parametrize("close", [True, False])
def test_eos_or_a_pad_ends_the_answer(decoder, close, fills, answer, written, ended, write):
    played = write(decoder, fills, block_size=3, close_padding=close)
    assert (played.answer, played.written, played.ended.reason) == (answer, written, ended)
    assert "".join(chr(token) for text in played.of(Text) for token in text.token_ids) == answer.rstrip("$")


def test_what_stands_behind_an_eos_is_closed_or_left_alone(write):
    closed = write(diffusion, "abc$xy", scores=".112965")
    assert closed.steps == ["4:$ 5:. 6:.", "3:c", "1:a", "2:b"]
    left = write(diffusion, "abc$xy", scores=".112965", close_padding=False)
    assert left.steps == ["4:$", "5:x", "6:y", "3:c", "1:a", "2:b"]
    assert closed.answer == left.answer == "abc$"


def test_blanks_behind_the_end_are_not_waited_for(write):
    played = write(diffusion, "ab$xyz", scores=".987321", close_padding=False)
    assert played.steps == ["1:a", "2:b", "3:$"]


def test_text_comes_in_reading_order_and_never_behind_an_eos(write):
    played = write(diffusion, "abc$xy", scores=".172965", close_padding=False)
    assert played.steps == ["4:$", "2:b", "5:x", "6:y", "3:c", "1:a"]
    assert [text.token_ids for text in played.of(Text)] == [tuple(map(ord, "abc"))]


@pytest.mark.parametrize("decoder", [diffusion, fast_dllm, block_diffusion])
def test_a_stop_criterion(decoder, write):
    played = write(decoder, "abcdef", block_size=3, should_stop=lambda ids: ids[-1] == ord("d"))
    assert (played.answer, played.ended.reason) == ("abcd", "stop")


# What is run


def test_diffusion_runs_the_answer_whole_and_its_left_neighbour_while_that_predicts(write):
    assert runs(write(diffusion, "abcd", scores=".3924")) == ["0-4:1,2,3,4", "0-4:1,3,4", "0-4:1,3", "1-4:3"]


def test_a_finished_block_is_run_again_with_the_next_one(write):
    played = write(block_diffusion, "abcd", scores=".1291", block_size=2)
    assert runs(played) == ["0-2:1,2", "0-2:1", "1-4:3,4", "3-4:4"]
    assert [query.commits for query in played.queries] == [False, False, True, False]
    commit = played.queries[2]
    assert (commit.spans, commit.rounds) == ([0, 0, 1, 1], [0, 0, 1, 1])


def test_the_last_block_has_what_room_is_left(write):
    played = write(block_diffusion, "abcde", block_size=2)
    assert [len(event.spans[0].positions) for event in played.of(BlanksPlaced)] == [2, 2, 1]
    assert len(played.of(RoundClosed)) == 2 and len(played.of(SpanClosed)) == 3


@pytest.mark.parametrize(
    "cache, expected",
    [
        ("dual", ["0-6:1,2,3", "1-3:2,3", "2-3:3", "1-6:4,5,6", "4-6:5,6", "4-6:6"]),
        ("prefix", ["0-6:1,2,3", "1-6:2,3", "1-6:3", "1-6:4,5,6", "4-6:5,6", "4-6:6"]),
        ("none", ["0-6:1,2,3", "1-6:2,3", "1-6:3", "1-6:4,5,6", "1-6:5,6", "1-6:6"]),
    ],
)
def test_what_fast_dllm_runs(cache, expected, write):
    expected = ["1-3:3" if run == "2-3:3" else run for run in expected]
    assert runs(write(fast_dllm, "abcdef", block_size=3, block_cache=cache)) == expected


def test_fast_dllm_runs_a_blocks_left_neighbour_until_its_first_token_is_written(write):
    played = write(fast_dllm, "abcdef", scores=".987123", block_size=3)
    assert runs(played)[3:] == ["1-6:4,5,6", "3-6:4,5", "3-6:4"]


def test_thresholds_write_several_at_once(write):
    played = write(fast_dllm, "abcdef", scores=".989199", block_size=3, confidence_threshold=0.85)
    assert played.steps == ["1:a 3:c", "2:b", "5:e 6:f", "4:d"]


def test_events_are_in_order(write):
    played = write(block_diffusion, "ab$.", block_size=2)
    kinds = [type(event).__name__ for event in played.events]
    forward = played.of(Forward)  # the engine's, not the decoder's
    assert not forward
    assert kinds == [
        "BlanksPlaced", "TokensWritten", "Text", "TokensWritten", "Text", "SpanClosed", "RoundClosed",
        "BlanksPlaced", "TokensWritten", "SpanClosed", "Ended",
    ]  # fmt: skip
