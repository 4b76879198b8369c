"""Spans written left to right, exactly, from a scripted model; letters as in conftest.py."""

from planned_diffusion.generation.decoders.parallel_autoregressive import parallel_autoregressive
from planned_diffusion.generation.events import SpanClosed
from planned_diffusion.generation.visibility import CAUSAL, CLEAN


def test_one_token_per_span_and_forward(play):
    played = play(says="<a3><b1>$", fills="P<a3><b1>[xyz][w]$", decoder=parallel_autoregressive)
    assert played.steps == ["10:x 15:w", "11:y", "12:z"]
    assert (played.written, played.ended.reason) == ("<a3><b1>[xyz][w]$", "eos")


def test_a_pad_ends_a_span(play):
    played = play(says="<a4><b2>$", fills="P<a4><b2>[x.__][wv]$", decoder=parallel_autoregressive)
    assert played.steps == ["10:x 16:w", "11:. 12:. 13:. 17:v"]
    assert (played.written, played.answer) == ("<a4><b2>[x...][wv]$", "xwv$")
    assert [event.span.index for event in played.of(SpanClosed)] == [0, 1]


def test_blanks_never_run_and_a_later_round_reads_clean_spans(play):
    played = play(says="<a2>|<b1>$", fills="P<a2>[xy]|<b1>[z]$", decoder=parallel_autoregressive)
    ran = [
        [
            f"{position}{chr(token)}{'' if stream == CLEAN else '<'}"
            for position, token, stream in zip(query.positions, query.token_ids, query.streams, strict=True)
        ]
        for query in played.queries
    ]
    assert ran[5:8] == [["5[<"], ["6x<"], ["5[", "6x", "7y", "8]", "9|"]]
    assert [query.commits for query in played.queries[5:8]] == [False, False, True]
    assert all(set(query.streams) <= {CLEAN, CAUSAL} for query in played.queries)
    assert not any("_" in state for states in ran for state in states)


def test_a_stop_criterion(play):
    played = play(
        says="<a3><b1>$", fills="P<a3><b1>[xyz][w]$", decoder=parallel_autoregressive,
        should_stop=lambda ids: ids[-1] == ord("y"),
    )  # fmt: skip
    assert (played.answer, played.ended.reason) == ("xy", "stop")
