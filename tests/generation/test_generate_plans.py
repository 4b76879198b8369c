"""`plan=`: every form a caller may give, and what becomes of it."""

import copy

import pytest
import torch
from transformers import pipeline

from planned_diffusion.generation.plan import Plan, Round, Span

IDS = torch.tensor([[1, 2, 3]])


@pytest.fixture(scope="module")
def fill(build_model):
    """fill(plan for one prompt, **fields) -> output with the plan kept; unit 5."""
    model = build_model(tokens_per_length_unit=5)

    def run(plan, ids=IDS, **fields):
        fields = {"max_new_tokens": 120, "keep_plan": True, "return_dict_in_generate": True, **fields}
        return model.generate(ids, plan=plan, **fields)

    return run


def lengths(out, row: int = 0) -> list[list[int]]:
    return [[span.length for span in spans] for spans in out.plans[row]]


def test_token_ids_per_round(fill):
    out = fill([[[104, 30, 31, 17, 105, 104, 32, 16, 105, 106], [104, 33, 18, 105, 100]]])
    written = out.sequences[0, 3:].tolist()
    assert lengths(out) == [[10, 5], [15]]
    assert written[:9] == [104, 30, 31, 17, 105, 104, 32, 16, 105]
    assert written[9 + 12 + 7] == 106 and written[-1] == 100


def test_topics_and_lengths_as_text(fill, byte_tokenizer):
    out = fill([[[("cause", 7), ("why 2", 3)], [("end", 5)]]], tokenizer=byte_tokenizer)
    assert lengths(out) == [[7, 3], [5]]  # the rooms are the lengths given, not multiples of the unit
    written = byte_tokenizer.decode(out.sequences[0, 3:])
    assert written.startswith("<promise>-<topic>cause 2</topic><promise>-<topic>why 2 1</topic><async>")
    assert "</async><sync/><promise>-<topic>end 1</topic><async>" in written and written.endswith("</async><|eos|>")
    assert [[span.topic for span in spans] for spans in out.plans[0]] == [["cause", "why 2"], ["end"]]


def test_topics_as_ids_need_no_tokenizer(fill, byte_tokenizer):
    text = byte_tokenizer.encode("cause ", add_special_tokens=False)
    out = fill([[[(text, 7)]]])
    assert out.sequences.equal(fill([[[("cause", 7)]]], tokenizer=byte_tokenizer).sequences)
    assert out.sequences.equal(fill([[[[text, 7]]]]).sequences)  # a list is a pair as well


def test_a_topic_that_spells_a_tag_is_text(fill, byte_tokenizer):
    out = fill([[[("a<sync/>b</topic>", 4)]]], tokenizer=byte_tokenizer)
    assert lengths(out) == [[4]]
    assert out.plans[0][0][0].topic == "a<sync/>b</topic>"
    written = out.sequences[0, 3:].tolist()
    assert written.count(105) == 1 and 106 not in written


def test_plan_objects(fill):
    plan = Plan((Round((Span((30,), 2, 10),), (104, 30, 17, 105), 100),))
    out = fill([plan])
    assert out.sequences.equal(fill([[[104, 30, 17, 105, 100]]]).sequences)


def test_round_objects_beside_other_forms(fill):
    first = Round((Span((30,), 2, 10),), (104, 30, 17, 105), 106)
    out = fill([[first, [104, 16, 105, 100]]])
    assert out.sequences.equal(fill([[[104, 30, 17, 105, 106], [104, 16, 105, 100]]]).sequences)


def test_an_empty_plan_object_is_refused(fill):
    with pytest.raises(ValueError, match="plan"):
        fill([Plan(())])


def test_rounds_may_mix_forms(fill, byte_tokenizer):
    out = fill([[[104, 30, 17, 105, 106], [("end", 4)]]], tokenizer=byte_tokenizer)
    assert lengths(out) == [[10], [4]]


def test_none_leaves_planning_to_the_model(fill, left_padded):
    ids, mask = left_padded([[1, 2, 3], [4, 5]])
    out = fill([None, [[104, 30, 17, 105, 100]]], ids=ids, attention_mask=mask)
    free = fill(None, ids=IDS)
    assert out.sequences[0, 3 : free.sequences.shape[1]].equal(free.sequences[0, 3:])
    assert lengths(out, 1) == [[10]]


def test_an_open_plan_is_continued_by_the_model(fill):
    """A last round that ends in <sync/> leaves the next round to the model."""
    out = fill([[[104, 30, 16, 105, 106]]])
    written = out.sequences[0, 3:].tolist()
    assert written[4 + 7] == 106
    assert written[4 + 8] in (104, 100)
    assert out.trace[0].planning > 0


def test_length_scale_acts_on_promised_numbers(fill, byte_tokenizer):
    ids = [[[104, 30, 17, 105, 104, 31, 18, 105, 100]]]
    assert lengths(fill(ids, length_scale=1.0)) == [[10, 15]]
    assert lengths(fill(ids, length_scale=0.5)) == [[5, 8]]
    assert lengths(fill(ids, length_scale=2)) == [[20, 30]]
    assert lengths(fill(ids, length_scale=0.01)) == [[1, 1]]
    # A length in tokens is one already; only its number changes.
    assert lengths(fill([[[("end", 7)]]], length_scale=2, tokenizer=byte_tokenizer)) == [[7]]


def test_a_callers_plan_is_not_capped(fill):
    """max_spans and max_rounds bound the model's own planning."""
    rounds = [[104, 16, 105] * 3 + [106], [104, 16, 105, 100]]
    assert lengths(fill([rounds], max_spans=1, max_rounds=1)) == [[5, 5, 5], [5]]


def test_a_plan_that_just_fits(fill):
    """3 tokens of plan, 7 of span, EOS."""
    out = fill([[[104, 16, 105, 100]]], max_new_tokens=11)
    assert out.ended == ["eos"] and out.sequences.shape[1] == 3 + 11
    with pytest.raises(ValueError, match="room for 10 new tokens, but the given plan needs 11; raise max_new_tokens"):
        fill([[[104, 16, 105, 100]]], max_new_tokens=10)


def test_an_open_plan_that_just_fits_stays_within_the_budget(fill):
    for room in (11, 12):
        out = fill([[[104, 16, 105, 106]]], max_new_tokens=room)
        assert out.sequences.shape[1] <= 3 + room


def test_plans_of_a_batch_are_those_alone(fill, left_padded):
    plans = [[[104, 30, 17, 105, 100]], [[104, 31, 16, 105, 104, 32, 18, 105, 106], [104, 16, 105, 100]]]
    ids, mask = left_padded([[1, 2, 3], [9]])
    together = fill(plans, ids=ids, attention_mask=mask)
    for row, (prompt, plan) in enumerate(zip(([1, 2, 3], [9]), plans, strict=True)):
        alone = fill([plan], ids=torch.tensor([prompt])).sequences[0, len(prompt) :].tolist()
        assert together.sequences[row, 3:].tolist()[: len(alone)] == alone


def test_a_plan_serves_all_returned_sequences(fill):
    out = fill([[[104, 30, 17, 105, 100]]], num_return_sequences=2, do_sample=True, seed=0)
    assert lengths(out, 0) == lengths(out, 1) == [[10]]


def test_dense_and_sparse_differ_with_two_spans_and_agree_with_one(fill):
    one, two = [[[104, 30, 17, 105, 100]]], [[[104, 30, 17, 105, 104, 31, 17, 105, 100]]]
    assert fill(one, span_attention="dense").sequences.equal(fill(one, span_attention="sparse").sequences)
    assert not fill(two, span_attention="dense").sequences.equal(fill(two, span_attention="sparse").sequences)


def test_span_attention_comes_from_the_model_config(build_model, fill):
    dense = build_model(tokens_per_length_unit=5, span_attention="dense")
    plan = [[[104, 30, 17, 105, 104, 31, 17, 105, 100]]]
    out = dense.generate(IDS, plan=plan, max_new_tokens=120, keep_plan=True)
    assert out.equal(fill(plan, span_attention="dense").sequences)


@pytest.mark.parametrize("bounds", [{"max_spans": 2}, {"max_rounds": 1}, {"max_spans": 1, "max_rounds": 1}])
def test_bounds_on_what_the_model_plans_are_none_on_a_given_plan(bounds, fill):
    rounds = [[[104, 30, 16, 105] * 3 + [106], [104, 33, 16, 105, 100]]]
    out = fill(rounds, **bounds)
    assert lengths(out) == [[5, 5, 5], [5]]
    assert out.sequences.equal(fill(rounds).sequences)


def test_bounds_hold_again_where_the_model_goes_on(planner):
    """A given round that ends in <sync/>; the model plans what follows."""
    plan = [[[104, 30, 16, 105] * 3 + [106]]]
    fields = {"max_new_tokens": 150, "return_dict_in_generate": True}
    free = [planner.generate(IDS + shift, plan=plan, **fields) for shift in range(12)]
    shift = max(range(12), key=lambda shift: max(map(len, lengths(free[shift])[1:]), default=0))
    assert max(map(len, lengths(free[shift])[1:])) > 1 and len(lengths(free[shift])) > 2
    bounded = lengths(planner.generate(IDS + shift, plan=plan, max_spans=1, **fields))
    assert len(bounded[0]) == 3 and {len(spans) for spans in bounded[1:]} == {1}
    assert len(lengths(planner.generate(IDS + shift, plan=plan, max_rounds=2, **fields))) == 2


def test_a_pipeline_takes_plans(build_model, byte_tokenizer):
    """A prompt at a time, or batch_size of them, each with the plan at its place."""
    tokenizer = copy.deepcopy(byte_tokenizer)
    tokenizer.pad_token, tokenizer.padding_side = "<|99|>", "left"
    model = build_model(tokens_per_length_unit=5)
    pipe = pipeline("text-generation", model=model, tokenizer=tokenizer)
    fields = {"return_full_text": False, "do_sample": False, "max_new_tokens": 60, "keep_plan": True}
    fields["skip_special_tokens"] = False
    a, b = (byte_tokenizer.encode(f"{topic} ") for topic in "ab")
    prompts, plans = ["why", "hello there"], [[[(a, 4), (b, 3)]], [[(b, 5)], [(a, 2)]]]

    def written(prompt, plan):
        return pipe(prompt, plan=[plan], **fields)[0]["generated_text"]

    alone = [written(*pair) for pair in zip(prompts, plans, strict=True)]
    assert alone[0].startswith("<promise>-<topic>a 1</topic><promise>-<topic>b 1</topic><async>")
    together = pipe(prompts, plan=plans, batch_size=2, **fields)
    assert [record["generated_text"].replace("<|99|>", "") for [record] in together] == alone
    one_for_all = pipe(prompts, plan=plans[:1], **fields)
    assert [record["generated_text"] for [record] in one_for_all] == [written(prompt, plans[0]) for prompt in prompts]
    assert pipe("why", plan=plans[:1], return_dict_in_generate=True, **fields)[0]["generated_text"] == alone[0]
    with pytest.raises(ValueError, match="plan has 2 entries for 1 prompts; .*a pipeline passes batch_size prompts"):
        pipe(prompts, plan=plans, **fields)
