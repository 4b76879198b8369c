"""`generate`: shapes, padding, masks, seeds. A batch is its prompts alone, however it was padded."""

import pytest
import torch

PLAN = [[[104, 30, 18, 105, 104, 31, 17, 105, 106], [104, 32, 16, 105, 100]]]
FIELDS = {"max_new_tokens": 60, "max_spans": 3}
GIVEN = {"plan": PLAN, "max_new_tokens": 120}


@pytest.fixture(scope="module")
def rows(prompts):
    """Eight ragged prompts, of which the planner answers some with plans and some with text."""
    return prompts(8, 30, seed=4)


@pytest.fixture(scope="module")
def alone(planner, rows):
    return [planner.generate(torch.tensor([row]), **FIELDS)[0, len(row) :].tolist() for row in rows]


def test_one_prompt(planner, rows):
    out = planner.generate(torch.tensor([rows[0]]), **FIELDS)
    assert out.dtype == torch.int64 and out.shape[0] == 1
    assert out[0, : len(rows[0])].tolist() == rows[0]


def test_left_padded_batch(planner, rows, alone, left_padded):
    ids, mask = left_padded(rows)
    out = planner.generate(ids, attention_mask=mask, **FIELDS)
    assert out[:, : ids.shape[1]].equal(ids)
    for answer, expected in zip(out[:, ids.shape[1] :].tolist(), alone, strict=True):
        assert answer[: len(expected)] == expected
        assert set(answer[len(expected) :]) <= {100}  # EOS pads where no pad token is named


@pytest.mark.parametrize("dtype", [torch.bool, torch.int64, torch.float32])
def test_masks_of_any_dtype(dtype, planner, rows, left_padded):
    ids, mask = left_padded(rows[:3])
    expected = planner.generate(ids, attention_mask=mask, **FIELDS)
    assert planner.generate(ids, attention_mask=mask.to(dtype), **FIELDS).equal(expected)


def test_padding_may_stand_anywhere(planner, rows, alone):
    """Left, right, and holes: the mask is the truth, the ids under it do not matter."""
    row = rows[4]
    middle = len(row) // 2
    scattered = [99, *row[:middle], 7, 104, *row[middle:], 100, 99]
    mask = [0, *[1] * middle, 0, 0, *[1] * (len(row) - middle), 0, 0]
    out = planner.generate(torch.tensor([scattered]), attention_mask=torch.tensor([mask]), **FIELDS)
    assert out[0, : len(scattered)].tolist() == scattered
    assert out[0, len(scattered) :].tolist() == alone[4]


def test_int32_ids(planner, rows, alone):
    out = planner.generate(torch.tensor([rows[4]], dtype=torch.int32), **FIELDS)
    assert out.dtype == torch.int64 and out[0, len(rows[4]) :].tolist() == alone[4]


def test_pads_are_guessed_from_the_pad_id(planner, rows, alone, left_padded):
    ids, _ = left_padded(rows, pad_id=108)  # no prompt holds it
    out = planner.generate(ids, pad_token_id=108, **FIELDS)
    for answer, expected in zip(out[:, ids.shape[1] :].tolist(), alone, strict=True):
        assert answer == expected + [108] * (len(answer) - len(expected))


def test_an_eos_that_pads_is_not_guessed_away(planner):
    """Where EOS doubles as pad, an EOS inside a conversation is a token."""
    ids = torch.tensor([[5, 100, 7, 8]])
    everything = torch.ones_like(ids)
    assert planner.generate(ids, pad_token_id=100, **FIELDS).equal(
        planner.generate(ids, attention_mask=everything, **FIELDS)
    )


def test_prompts_may_be_named_inputs(planner, rows, alone):
    out = planner.generate(inputs=torch.tensor([rows[2]]), **FIELDS)
    assert out[0, len(rows[2]) :].tolist() == alone[2]


def test_what_pipelines_pass_along_is_ignored(planner, rows, alone):
    out = planner.generate(
        input_ids=torch.tensor([rows[2]]),
        attention_mask=None,
        token_type_ids=None,
        synced_gpus=False,
        use_cache=True,
        **FIELDS,
    )
    assert out[0, len(rows[2]) :].tolist() == alone[2]


def test_greedy_is_reproducible(planner, rows, alone):
    for _ in range(2):
        assert planner.generate(torch.tensor([rows[5]]), **FIELDS)[0, len(rows[5]) :].tolist() == alone[5]


# Sampling

SAMPLED = {"do_sample": True, "temperature": 1.0}


def test_a_seed_is_reproducible_and_another_differs(model):
    ids = torch.tensor([[1, 2, 3]])
    first, again, other = (model.generate(ids, seed=seed, **SAMPLED, **GIVEN).tolist() for seed in (3, 3, 4))
    assert first == again != other


def test_a_batch_with_one_seed_draws_what_its_rows_draw_alone(planner, rows, left_padded):
    ids, mask = left_padded(rows)
    together = planner.generate(ids, attention_mask=mask, seed=7, **SAMPLED, **FIELDS)
    for row, answer in zip(rows, together[:, ids.shape[1] :].tolist(), strict=True):
        expected = planner.generate(torch.tensor([row]), seed=7, **SAMPLED, **FIELDS)[0, len(row) :].tolist()
        assert answer[: len(expected)] == expected


def test_a_seed_per_prompt(model):
    ids = torch.tensor([[1, 2, 3]] * 3)
    out = model.generate(ids, seed=[5, 6, 5], **SAMPLED, **(GIVEN | {"plan": PLAN * 3})).tolist()
    assert out[0] == out[2] != out[1]


def test_some_prompts_may_have_no_seed(model):
    ids = torch.tensor([[1, 2, 3]] * 2)
    out = model.generate(ids, seed=[5, None], **SAMPLED, **(GIVEN | {"plan": PLAN * 2})).tolist()
    assert out[0] == model.generate(ids[:1], seed=5, **SAMPLED, **GIVEN)[0].tolist() != out[1]


def test_without_a_seed_torch_decides(model):
    ids = torch.tensor([[1, 2, 3]])

    def draw(seed):
        torch.manual_seed(seed)
        return [model.generate(ids, **SAMPLED, **GIVEN).tolist() for _ in range(2)]

    (first, second), again, other = draw(1), draw(1), draw(2)
    assert first != second and again == [first, second] and other[0] != first


def test_greedy_leaves_torchs_generator_alone(model):
    torch.manual_seed(1)
    before = torch.get_rng_state()
    model.generate(torch.tensor([[1, 2, 3]]), **GIVEN)
    assert torch.get_rng_state().equal(before)


def test_num_return_sequences_are_distinct_and_reproducible(model):
    ids, two_plans = torch.tensor([[1, 2, 3], [4, 5, 6]]), GIVEN | {"plan": PLAN * 2}
    out = model.generate(ids, num_return_sequences=3, seed=1, **SAMPLED, **two_plans)
    assert out.shape[0] == 6
    assert out[:, :3].tolist() == [[1, 2, 3]] * 3 + [[4, 5, 6]] * 3
    assert len({tuple(row) for row in out.tolist()}) == 6
    assert model.generate(ids, num_return_sequences=3, seed=1, **SAMPLED, **two_plans).equal(out)
    first = model.generate(ids[:1], seed=1, **SAMPLED, **GIVEN)
    assert out[0, : first.shape[1]].equal(first[0])


@pytest.mark.parametrize("fields", [{"do_sample": False}, {"do_sample": True, "temperature": 0}, {"temperature": 0.2}])
def test_ways_to_be_greedy(fields, model):
    ids = torch.tensor([[1, 2, 3]])
    expected = model.generate(ids, **GIVEN)
    assert model.generate(ids, seed=5, **GIVEN, **fields).equal(expected)


def test_cold_sampling_ranks_blanks_like_greedy(model):
    """At a low temperature almost every draw is the most likely token, and the order is that of the entropies."""
    out = model.generate(
        torch.tensor([[1, 2, 3]]), do_sample=True, temperature=0.2, seed=0, output_trace=True,
        return_dict_in_generate=True, **GIVEN,
    )  # fmt: skip
    scores = [score for step in out.trace[0].steps for score in step.scores]
    assert all(-6 < score <= 1e-6 for score in scores)


@pytest.mark.parametrize("implementation", ["sdpa", "eager"])
@pytest.mark.parametrize("architecture", ["qwen2", "qwen3", "llama"])
def test_backbones_and_attention_implementations(architecture, implementation, build_model):
    model = build_model(architecture)
    ids = torch.tensor([[1, 2, 3, 4]])
    expected = model.generate(ids, steps_ratio=0.5, **GIVEN)
    model.set_attn_implementation(implementation)
    assert model.generate(ids, steps_ratio=0.5, **GIVEN).equal(expected)


def test_bfloat16(build_model):
    model = build_model(dtype=torch.bfloat16)
    for implementation in ("sdpa", "eager"):
        model.set_attn_implementation(implementation)
        assert model.generate(torch.tensor([[1, 2, 3]]), **GIVEN).shape[1] > 3
