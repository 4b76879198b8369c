"""What `generate` returns: where the spans stand, what was counted, how it ended, with and without the plan."""

import time

import pytest
import torch

from planned_diffusion.generation.engine.runner import Runner
from planned_diffusion.generation.events import FinishedSpan, PlanShortened
from planned_diffusion.generation.trace import Trace

PLANS = [
    [[104, 30, 18, 105, 104, 31, 17, 105, 106], [104, 32, 16, 105, 100]],
    [[104, 33, 17, 105, 100]],
    None,
]
UNIT = 3  # of the model below: spans of 9, 6, 3 and 6 tokens


@pytest.fixture(scope="module")
def short(build_model):
    return build_model(tokens_per_length_unit=UNIT)


def answer(model, left_padded, rows=([1, 2, 3], [4], [5, 6, 7, 8, 9]), plan=PLANS, **fields):
    ids, mask = left_padded(list(rows))
    fields = {"max_new_tokens": 60, "return_dict_in_generate": True, **fields}
    return ids, model.generate(ids, attention_mask=mask, plan=plan, **fields)


def test_fields_of_the_output(short, left_padded):
    ids, out = answer(short, left_padded)
    assert out.sequences.shape[0] == len(out.plans) == len(out.trace) == len(out.ended) == 3
    assert out.sequences[:, : ids.shape[1]].equal(ids)
    assert all(isinstance(trace, Trace) for trace in out.trace)
    assert out.ended[:2] == ["eos", "eos"]
    assert [[len(spans) for spans in rounds] for rounds in out.plans] == [[2, 1], [1], []]
    assert out["sequences"] is out.sequences and list(out.keys()) == ["sequences", "plans", "trace", "ended"]


def test_a_tensor_unless_asked_for_more(short, left_padded):
    ids, out = answer(short, left_padded)
    _, plain = answer(short, left_padded, return_dict_in_generate=False)
    assert plain.equal(out.sequences)


@pytest.mark.parametrize("close_padding", [True, False])
@pytest.mark.parametrize("keep_plan", [True, False])
def test_spans_stand_where_the_output_says(keep_plan, close_padding, short, left_padded):
    ids, out = answer(short, left_padded, keep_plan=keep_plan, close_padding=close_padding)
    row = out.sequences[0].tolist()
    spans = [span for spans in out.plans[0] for span in spans]
    assert [span.length for span in spans] == [9, 6, 3]
    assert [span.topic_ids for span in spans] == [(30,), (31,), (32,)]
    text = [row[span.start : span.stop] for span in spans]
    if keep_plan:
        for span, words in zip(spans, text, strict=True):
            assert row[span.start - 1] == 102
            assert row[span.start + span.length] == 103
            assert words == row[span.start : span.start + span.length][: len(words)]
    else:  # the spans are the answer, and nothing else
        prose = [token for words in text for token in words]
        assert row[ids.shape[1] :][: len(prose) + 1] == [*prose, 100]
    assert not {101, 102, 103, 104, 105, 106, 107, 100} & {token for words in text for token in words}


def test_keep_plan_is_the_answer_as_written(short, left_padded):
    ids, out = answer(short, left_padded, keep_plan=True)
    _, prose = answer(short, left_padded)
    start = ids.shape[1]
    written = out.sequences[0, start:].tolist()
    assert written[:8] == PLANS[0][0][:-1]
    assert written[8] == 102 and written[8 + 10] == 103
    assert written[8 + 11 + 8 : 8 + 11 + 8 + 6] == [106, *PLANS[0][1][:-1], 102]
    inside, words = False, []
    for token in written:
        inside = (inside or token == 102) and token != 103
        words += [token] if inside and token not in (102, 107) else []
    assert prose.sequences[0, start:].tolist()[: len(words) + 1] == [*words, 100]
    # Text that was not planned is the same either way.
    assert out.sequences[2, start:].tolist()[:60] == prose.sequences[2, start:].tolist()[:60]


def test_trace_counts(short, left_padded):
    """Given plans: 9 + 3 steps, and 6; a commit between rounds rides along. The third prompt is answered with text."""
    _, out = answer(short, left_padded, close_padding=False)
    first, second, third = out.trace
    assert (first.forwards, first.planning, first.denoising, first.decoding, first.commits) == (12, 0, 12, 0, 1)
    assert (second.forwards, second.denoising, second.commits) == (6, 6, 0)
    written = int(out.ended[2] == "eos") + third.tokens
    assert (third.planning, third.denoising, third.decoding) == (1, 0, written - 1)
    for trace in out.trace:
        assert trace.forwards == trace.planning + trace.denoising + trace.decoding == trace.critical_path
        assert 0 < trace.seconds < 60
        assert trace.steps == ()


def test_trace_counts_of_a_planned_answer(planner, prompts):
    """By the answer as written: a forward per plan token and terminator, the steps of each round's longest span."""
    for row in prompts(8, 30, seed=4):
        taken_back = []
        out = planner.generate(
            torch.tensor([row]),
            listener=lambda _, event, seen=taken_back: (
                isinstance(event, PlanShortened) and seen.extend(event.positions)
            ),
            max_new_tokens=60,
            max_spans=3,
            keep_plan=True,
            return_dict_in_generate=True,
            close_padding=False,
        )
        trace, written = out.trace[0], out.sequences[0, len(row) :].tolist()
        if not out.plans[0]:
            assert trace.forwards == len(written) + (len(taken_back) + 1 if taken_back else 0)
            continue
        spans = sum(2 + span.length for spans in out.plans[0] for span in spans)
        drawn = len(written) - spans
        # A promise that did not fit was drawn, but not written; its last token was drawn, but not even taken back.
        assert trace.planning == drawn + len(taken_back) + (out.ended == ["length"])
        assert trace.denoising == sum(max(span.length for span in spans) for spans in out.plans[0])
        assert trace.commits == written.count(106)
        assert trace.decoding == 0


def test_tokens_are_text_without_pads_and_plan(short, left_padded):
    ids, out = answer(short, left_padded)
    for row, trace, ended in zip(out.sequences[:, ids.shape[1] :].tolist(), out.trace, out.ended, strict=True):
        assert trace.tokens == (row.index(100) if ended == "eos" else len(row))


def test_tokens_run_shrink_with_the_cache(short, left_padded):
    """Each step runs the open spans alone: 9 steps of 11 tokens, beside them 6 of 8; round two is smaller."""
    _, out = answer(short, left_padded, plan=[PLANS[1], PLANS[1], PLANS[1]], close_padding=False)
    for trace, prompt in zip(out.trace, (3, 1, 5), strict=True):
        assert trace.tokens_run == prompt + 4 + 6 * 8


def test_output_trace_lists_every_step(short, left_padded):
    ids, out = answer(short, left_padded, output_trace=True, keep_plan=True)
    for prompt, row, trace in zip((3, 1, 5), out.sequences.tolist(), out.trace, strict=True):
        answer_row = row[ids.shape[1] :]
        assert len(trace.steps) == trace.denoising + trace.decoding + (trace.denoising == 0)
        places = [position for step in trace.steps for position in step.positions]
        assert len(places) == len(set(places))
        for step in trace.steps:
            assert len(step.positions) == len(step.token_ids) == len(step.scores) > 0
            assert list(step.positions) == sorted(step.positions)
            for position, token in zip(step.positions, step.token_ids, strict=True):
                assert answer_row[position - prompt] == token  # positions count from the prompt's first token
    assert [step.round for step in out.trace[0].steps] == sorted(step.round for step in out.trace[0].steps)


def test_topics_are_spelled_by_a_tokenizer(short, left_padded, byte_tokenizer):
    _, silent = answer(short, left_padded)
    assert {span.topic for rounds in silent.plans for spans in rounds for span in spans} == {None}
    _, out = answer(short, left_padded, tokenizer=byte_tokenizer)
    assert out.plans[0][0][0] == FinishedSpan((30,), 9, out.plans[0][0][0].start, out.plans[0][0][0].stop, "?")
    assert out.sequences.equal(silent.sequences)


def test_length_is_an_ending(short, left_padded):
    ids, out = answer(short, left_padded, rows=([1, 2, 3],), plan=None, max_new_tokens=9)
    assert out.ended == ["length"] and out.sequences.shape[1] == ids.shape[1] + 9
    assert 100 not in out.sequences[0].tolist()


def test_a_separator_between_spans_is_part_of_the_text(build_model, byte_tokenizer, left_padded):
    model = build_model(tokens_per_length_unit=UNIT, span_separator=", ")
    plain = build_model(tokens_per_length_unit=UNIT)
    (ids, out), (_, without) = (answer(each, left_padded, tokenizer=byte_tokenizer) for each in (model, plain))

    def texts(output):
        row = output.sequences[0].tolist()
        return [row[span.start : span.stop] for spans in output.plans[0] for span in spans]

    assert texts(out) == texts(without)
    separator = byte_tokenizer.encode(", ", add_special_tokens=False)
    first, second, third = texts(out)
    row = out.sequences[0, ids.shape[1] :].tolist()
    assert row[: row.index(100)] == [*first, *separator, *second, *separator, *third]


def test_seconds_count_the_first_forward_and_what_a_reader_feels(short, left_padded, monkeypatch):
    logits = Runner.logits

    def slow(self, packed):
        time.sleep(0.05)
        return logits(self, packed)

    monkeypatch.setattr(Runner, "logits", slow)
    for trace in answer(short, left_padded, plan=None, decoding="autoregressive", max_new_tokens=2)[1].trace:
        assert trace.forwards == 2 and trace.seconds >= 0.1
        felt = trace.felt
        assert felt.first_outline_word is None and 0.05 <= felt.first_final_word <= trace.seconds - 0.05
        assert felt.first_final_word + 0.05 <= felt.last_word <= trace.seconds
    given = answer(short, left_padded, steps_ratio=0.01)[1].trace[0].felt  # its outline is told with the first forward
    assert given.first_outline_word <= given.first_final_word < given.last_word
    assert 0.05 <= given.first_outline_word < 0.1
