"""Where `generate` must stop: token budgets, the model's positions, sliding windows; and what it leaves as it was."""

import pytest
import torch

IDS = torch.tensor([[1, 2, 3, 4]])
PLAN = [[[104, 30, 17, 105, 104, 31, 16, 105, 106], [104, 16, 105, 100]]]
OUT = {"return_dict_in_generate": True, "keep_plan": True}


@pytest.fixture(scope="module")
def short(build_model):
    """24 positions, prompt and answer together; unit 2."""
    return build_model(tokens_per_length_unit=2, backbone={"max_position_embeddings": 24})


@pytest.mark.parametrize("decoding", ["planned", "autoregressive"])
def test_positions_bound_the_answer(decoding, short):
    fields = {"return_dict_in_generate": True, "decoding": decoding}
    out = short.generate(IDS, max_new_tokens=500, **fields)
    assert out.sequences.shape[1] <= 24
    without = short.generate(IDS, **fields)
    assert without.sequences.equal(out.sequences)
    assert out.ended == ["length"] and out.sequences.shape[1] == 24


def test_a_plan_for_more_positions_is_refused(short):
    with pytest.raises(ValueError, match=r"room for 20 new tokens, but the given plan needs 27; shorten the prompt"):
        short.generate(IDS, plan=PLAN, max_new_tokens=500)


def test_rows_of_a_batch_have_their_own_room(short, left_padded):
    ids, mask = left_padded([[1, 2, 3, 4], [5] * 14])
    out = short.generate(ids, attention_mask=mask, **OUT)
    assert out.ended == ["length"] * 2
    assert [len(trace.steps) for trace in out.trace] == [0, 0]
    for row, prompt in ((0, 4), (1, 14)):
        answer = out.sequences[row, 14:].tolist()
        while answer and answer[-1] == 100:
            answer.pop()
        assert len(answer) <= 24 - prompt


@pytest.mark.parametrize("max_length, new", [(12, 8), (24, 20), (100, 20)])
def test_max_length_counts_the_prompt(max_length, new, short):
    out = short.generate(IDS, max_length=max_length, decoding="autoregressive", return_dict_in_generate=True)
    assert out.sequences.shape[1] == 4 + new and out.ended == ["length"]


def test_max_new_tokens_beats_max_length(short):
    assert short.generate(IDS, max_length=20, max_new_tokens=9, decoding="autoregressive").shape[1] == 13


def test_max_length_counts_no_padding(short, left_padded):
    ids, mask = left_padded([[1, 2, 3, 4], [5] * 10])
    out = short.generate(ids, attention_mask=mask, max_length=14, decoding="autoregressive")
    assert out.shape[1] == 20  # the first row has 4 tokens and may write 10


def test_a_window_bounds_like_positions(build_model):
    """Ready masks override sliding layers, so an answer must not outgrow the window."""
    window = {"use_sliding_window": True, "sliding_window": 16, "max_window_layers": 0}
    model = build_model(tokens_per_length_unit=2, backbone=window)
    assert "sliding_attention" in model.config.backbone_config.layer_types
    out = model.generate(IDS, max_new_tokens=100, decoding="autoregressive", return_dict_in_generate=True)
    assert out.sequences.shape[1] == 16 and out.ended == ["length"]
    with pytest.raises(ValueError, match=r"Prompt 0 has 16 tokens, and this model has 16 positions"):
        model.generate(torch.ones(1, 16, dtype=torch.long))


def test_an_unused_window_does_not_bound(build_model):
    model = build_model(backbone={"use_sliding_window": False, "sliding_window": 16})
    out = model.generate(IDS, max_new_tokens=30, decoding="autoregressive", return_dict_in_generate=True)
    assert out.sequences.shape[1] > 20 or out.ended == ["eos"]


@pytest.mark.parametrize("room", range(8, 21))
def test_budgets_are_kept_to_the_token(room, planner, left_padded, prompts):
    ids, mask = left_padded(prompts(8, 30, seed=4))
    out = planner.generate(ids, attention_mask=mask, max_new_tokens=room, max_spans=3, **OUT)
    assert out.sequences.shape[1] <= ids.shape[1] + room


# What is left as it was


@pytest.mark.parametrize("calls", range(1, 8))
def test_criteria_are_asked_while_planning(calls, planner, left_padded, prompts):
    """Every token asks once, so the plan ends where the criterion says so, and the answer with it."""
    asked = []

    def enough(ids, scores, **kwargs):
        asked.append(ids.shape[1])
        return torch.tensor([len(asked) >= calls])

    ids, mask = left_padded(prompts(40, 30, seed=4))
    whole = planner.generate(ids, attention_mask=mask, max_new_tokens=60, **OUT)
    long = [row for row, plan in enumerate(whole.plans) if plan and len(plan[0]) > 1][0]
    asked.clear()
    rows = {"attention_mask": mask[long : long + 1], "max_new_tokens": 60, **OUT}
    out = planner.generate(ids[long : long + 1], stopping_criteria=[enough], **rows)
    assert out.ended == ["stop"] and out.plans == [[]] and len(asked) == calls
    assert out.trace[0].forwards == calls and set(asked) == {ids.shape[1]}, "padded as the prompt was"
    written = out.sequences[0, ids.shape[1] :].tolist()
    assert written == whole.sequences[long, ids.shape[1] : ids.shape[1] + calls].tolist()


@pytest.mark.parametrize("training", [True, False])
def test_training_mode_is_restored(training, build_model):
    model = build_model(tokens_per_length_unit=2).train(training)
    model.model.layers[0].train(not training)
    before = {name: module.training for name, module in model.named_modules()}
    model.generate(IDS, plan=PLAN, max_new_tokens=60)
    assert {name: module.training for name, module in model.named_modules()} == before
    assert set(before.values()) == {True, False}


def test_gradient_checkpointing_and_training_do_not_matter(build_model):
    model = build_model(tokens_per_length_unit=2)
    expected = model.generate(IDS, plan=PLAN, max_new_tokens=60)
    getattr(model, "activation_checkpointing_enable", model.gradient_checkpointing_enable)()
    model.train()
    assert model.generate(IDS, plan=PLAN, max_new_tokens=60).equal(expected)
    assert model.training


def test_no_gradient_is_kept(build_model):
    model = build_model(tokens_per_length_unit=2)
    model.generate(IDS, plan=PLAN, max_new_tokens=60)
    assert torch.is_grad_enabled()
    assert all(parameter.grad is None and parameter.requires_grad for parameter in model.parameters())


def test_dropout_is_off_while_generating(build_model):
    model = build_model(tokens_per_length_unit=2, backbone={"attention_dropout": 0.5})
    expected = model.generate(IDS, plan=PLAN, max_new_tokens=60)
    assert model.train().generate(IDS, plan=PLAN, max_new_tokens=60).equal(expected)
