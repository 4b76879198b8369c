"""Who listens and who interferes while an answer is written: streamers, listeners, stopping criteria, processors."""

import time

import pytest
import torch
from transformers import LogitsProcessorList, TextStreamer
from transformers.generation import StoppingCriteria, StoppingCriteriaList, StopStringCriteria

from planned_diffusion.generation.events import Ended, Forward, Text

IDS = torch.tensor([[1, 2, 3]])
PLAN = [[[104, 30, 18, 105, 104, 31, 17, 105, 106], [104, 32, 16, 105, 100]]]
GIVEN = {"plan": PLAN, "max_new_tokens": 80}


@pytest.fixture(scope="module")
def model(build_model):
    return build_model(tokens_per_length_unit=4)


class Recorder:
    """A streamer that keeps what it is given."""

    def __init__(self):
        self.puts, self.drafts, self.ended = [], [], 0

    def put(self, value: torch.Tensor) -> None:
        self.puts.append(value)

    def end(self) -> None:
        self.ended += 1


class DraftRecorder(Recorder):
    def put_draft(self, value: torch.Tensor) -> None:
        self.drafts.append((len(self.puts), value.tolist()))


def tokens_put(streamer: Recorder) -> list[int]:
    return [token for value in streamer.puts[1:] for token in value.tolist()]


@pytest.mark.parametrize(
    "fields", [GIVEN, {"max_new_tokens": 20}, {"decoding": "autoregressive", "max_new_tokens": 20}]
)
def test_a_streamer_gets_prompt_then_text_in_order(fields, model):
    streamer = Recorder()
    out = model.generate(IDS, streamer=streamer, **fields)
    assert streamer.puts[0].equal(IDS)
    assert all(value.dim() == 1 for value in streamer.puts[1:])
    answer = out[0, 3:].tolist()
    assert tokens_put(streamer) == (answer[:-1] if answer[-1] == 100 else answer)
    assert streamer.ended == 1


def test_text_streamer(model, byte_tokenizer, capsys):
    streamer = TextStreamer(byte_tokenizer, skip_prompt=True)
    out = model.generate(IDS, streamer=streamer, **GIVEN)
    expected = byte_tokenizer.decode(out[0, 3:], skip_special_tokens=True)
    assert capsys.readouterr().out == expected + "\n"
    assert len(expected) > 10


def test_drafts(model):
    """After each step: the spans from the first blank on, blanks as the mask id; what is final leaves the draft."""
    streamer = DraftRecorder()
    out = model.generate(
        IDS, streamer=streamer, output_trace=True, return_dict_in_generate=True, close_padding=False, **GIVEN
    )
    assert len(streamer.drafts) == out.trace[0].denoising
    first = streamer.drafts[0][1]
    assert 18 <= len(first) <= 20 and first.count(101) == 18  # 12 and 8 blanks, of which each span wrote one
    final = []
    for _, draft in streamer.drafts:
        assert draft == [] or draft[0] == 101
        final.append(draft.count(101))
    assert final[:12] == sorted(final[:12], reverse=True) and final[11] == 0
    assert final[12:] == [3, 2, 1, 0]


def test_no_drafts_of_plain_text(model):
    streamer = DraftRecorder()
    model.generate(IDS, streamer=streamer, max_new_tokens=10)
    assert streamer.drafts == []


def test_a_streamer_ends_even_after_a_failure(model):
    streamer = Recorder()

    def fail(ids, scores, **kwargs):
        raise RuntimeError("mine")

    with pytest.raises(RuntimeError, match="mine"):
        model.generate(IDS, streamer=streamer, stopping_criteria=[fail], max_new_tokens=10)
    assert streamer.ended == 1


def test_a_listener_hears_everything(model):
    events = []
    ids = torch.tensor([[1, 2, 3], [4, 5, 6]])
    out = model.generate(
        ids,
        plan=PLAN * 2,
        max_new_tokens=80,
        return_dict_in_generate=True,
        listener=lambda *event: events.append(event),
    )
    for index in (0, 1):
        heard = [event for number, event in events if number == index]
        assert sum(isinstance(event, Forward) for event in heard) == out.trace[index].forwards
        text = [token for event in heard if isinstance(event, Text) for token in event.token_ids]
        assert isinstance(heard[-1], Ended) and heard[-1].answer_ids == (*text, 100)


# Stopping


class Asked(StoppingCriteria):
    """Stops when `decide` says so; remembers what it was asked with."""

    def __init__(self, decide=lambda ids: False):
        self.decide, self.seen = decide, []

    def __call__(self, input_ids, scores, **kwargs):
        self.seen.append(input_ids[0].tolist())
        return torch.tensor([self.decide(self.seen[-1])])


@pytest.mark.parametrize(
    "fields", [GIVEN, {"max_new_tokens": 12}, {"decoding": "autoregressive", "max_new_tokens": 12}]
)
def test_criteria_are_asked_with_prompt_and_text_after_every_token_or_step(fields, model):
    asked = Asked()
    out = model.generate(IDS, stopping_criteria=[asked], return_dict_in_generate=True, **fields)
    trace, text = out.trace[0], [token for token in out.sequences[0].tolist() if token != 100]
    assert len(asked.seen) >= trace.denoising + trace.decoding - 1  # an EOS ends without asking
    assert all(ids == text[: len(ids)] and len(ids) >= 3 for ids in asked.seen)
    assert [len(ids) for ids in asked.seen] == sorted(len(ids) for ids in asked.seen)
    assert asked.seen[-1] == text


def test_a_prompt_does_not_stop_its_answer(model, byte_tokenizer):
    """What ends an answer must stand in the answer: the prompt ends in the stop string."""
    ids = torch.tensor([byte_tokenizer.encode("Question: ok?")])
    whole = model.generate(ids, decoding="autoregressive", max_new_tokens=12)
    criteria = [StopStringCriteria(byte_tokenizer, stop_strings=["ok?"])]
    out = model.generate(ids, decoding="autoregressive", max_new_tokens=12, stopping_criteria=criteria)
    assert out.equal(whole)


def test_stopping_keeps_the_text_so_far(model):
    whole = model.generate(IDS, **GIVEN)[0].tolist()
    out = model.generate(
        IDS,
        stopping_criteria=StoppingCriteriaList([Asked(lambda ids: len(ids) >= 3 + 5)]),
        return_dict_in_generate=True,
        **GIVEN,
    )
    answer = out.sequences[0].tolist()
    assert out.ended == ["stop"]
    assert 8 <= len(answer) < len(whole) and answer == whole[: len(answer)] and answer[-1] != 100


def test_a_single_criterion_needs_no_list(model):
    out = model.generate(IDS, stopping_criteria=Asked(lambda ids: len(ids) >= 8), return_dict_in_generate=True, **GIVEN)
    assert out.ended == ["stop"]


def test_stopping_one_row_of_a_batch_leaves_the_other(model):
    ids = torch.tensor([[1, 2, 3], [4, 5, 6]])
    whole = model.generate(ids, plan=PLAN * 2, max_new_tokens=80)
    stop_first = Asked(lambda ids: ids[:3] == [1, 2, 3])
    out = model.generate(
        ids, plan=PLAN * 2, max_new_tokens=80, stopping_criteria=[stop_first], return_dict_in_generate=True
    )
    assert out.ended == ["stop", "eos"]
    second = out.sequences[1].tolist()
    assert second == whole[1].tolist()[: len(second)]


def test_stop_strings(model, byte_tokenizer):
    """transformers looks for a stop string at the end of the text alone, and a step may make several tokens final."""
    whole = byte_tokenizer.decode(model.generate(IDS, **GIVEN)[0, 3:], skip_special_tokens=True)
    stop = whole[6:8]
    criteria = StopStringCriteria(byte_tokenizer, stop_strings=[stop])
    out = model.generate(IDS, stopping_criteria=[criteria], return_dict_in_generate=True, **GIVEN)
    assert out.ended == ["stop"]
    text = byte_tokenizer.decode(out.sequences[0, 3:], skip_special_tokens=True)
    assert text == whole[: whole.index(stop) + 2]  # and the answer ends right there


@pytest.mark.parametrize("stop_strings", [str, lambda stop: ["never said", stop]])
def test_stop_strings_as_a_field(stop_strings, model, byte_tokenizer):
    whole = byte_tokenizer.decode(model.generate(IDS, **GIVEN)[0, 3:], skip_special_tokens=True)
    stop = whole[6:8]
    fields = {"stop_strings": stop_strings(stop), "tokenizer": byte_tokenizer}
    out = model.generate(IDS, return_dict_in_generate=True, **fields, **GIVEN)
    text = byte_tokenizer.decode(out.sequences[0, 3:], skip_special_tokens=True)
    assert out.ended == ["stop"] and text == whole[: whole.index(stop) + 2]


def test_stop_strings_need_a_tokenizer(model):
    with pytest.raises(ValueError, match="stop_strings are text .* pass tokenizer="):
        model.generate(IDS, stop_strings=["x"], **GIVEN)


@pytest.mark.parametrize("stop_strings", ["", [], ["a", ""], [3], 3])
def test_stop_strings_are_text(stop_strings, model):
    with pytest.raises(ValueError, match="stop_strings is .*; give a text or a list of texts, none of them empty"):
        model.generate(IDS, stop_strings=stop_strings, **GIVEN)


def test_max_time(model):
    def slowly(ids, scores, **kwargs):
        time.sleep(0.01)
        return torch.tensor([False])

    out = model.generate(IDS, max_time=0.03, stopping_criteria=[slowly], return_dict_in_generate=True, **GIVEN)
    assert out.ended == ["stop"] and out.trace[0].forwards < 16


# Processors


def prefer(token: int, at: int | None = None):
    def process(ids, scores):
        if at is None or ids.shape[1] == at:
            scores = scores.clone()
            scores[:, token] = 1e4
        return scores

    return process


def test_processors_shape_the_plan_and_plain_text(model):
    """The first token is made a promise, then digits and </topic> by turns, then EOS."""
    wanted = {3: 104, 4: 16, 5: 105, 6: 104, 7: 17, 8: 105, 9: 100}
    processors = LogitsProcessorList([prefer(token, at) for at, token in wanted.items()])
    out = model.generate(IDS, logits_processor=processors, max_new_tokens=80, keep_plan=True)
    assert out[0, 3:10].tolist() == [104, 16, 105, 104, 17, 105, 102] and out[0, -1] == 100
    text = model.generate(IDS, logits_processor=LogitsProcessorList([prefer(42)]), max_new_tokens=12)
    assert text[0, 3:].tolist() == [42] * 12


def test_processors_see_the_ids_so_far_and_leave_spans_alone(model):
    seen = []

    def watch(ids, scores):
        seen.append((ids.tolist(), scores.shape))
        return scores

    processors = LogitsProcessorList([prefer(104, at=3), prefer(16, at=4), prefer(105, at=5), prefer(100, at=6), watch])
    model.generate(IDS, logits_processor=processors, max_new_tokens=80)
    assert [ids for ids, _ in seen] == [[[1, 2, 3, 104, 16, 105][:count]] for count in (3, 4, 5, 6)]
    assert {shape for _, shape in seen} == {(1, 112)}


def test_a_plain_list_of_processors(model):
    out = model.generate(IDS, logits_processor=[prefer(42)], max_new_tokens=12)
    assert out[0, 3:].tolist() == [42] * 12


def test_a_processor_cannot_break_the_grammar(model):
    """No EOS before much has been written: a common processor. The plan has no other way to go on, so it ends."""

    def no_eos(ids, scores):
        return scores.index_fill(1, torch.tensor([100]), -torch.inf)

    processors = LogitsProcessorList([prefer(104, at=3), prefer(16, at=4), prefer(105, at=5), no_eos])
    out = model.generate(
        IDS, logits_processor=processors, max_spans=1, max_rounds=1, max_new_tokens=80, keep_plan=True
    )[0, 3:].tolist()
    assert out[:3] == [104, 16, 105] and len(out) == 3 + 6 + 1 and out[-1] == 100
