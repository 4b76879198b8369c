"""A batch gives the answers of its prompts alone: in float32 token for token; in bfloat16 up to rounding."""

import pytest
import torch

from planned_diffusion.generation.decoders.table import DECODERS
from planned_diffusion.generation.engine.engine import Engine

FIELDS = {"max_new_tokens": 24, "do_sample": True, "pad_token_id": 99, "return_dict_in_generate": True}


@pytest.fixture(scope="module")
def batch(prompts, left_padded):
    return left_padded(prompts(5, 20, seed=4))


def together_and_alone(model, batch, **fields) -> tuple:
    """Return the output of a batch, and those of its prompts in calls of their own, with the same seeds."""
    ids, mask = batch
    seeds = list(range(len(ids)))
    together = model.generate(ids, attention_mask=mask, seed=seeds, **FIELDS, **fields)
    alone = [
        model.generate(ids[row : row + 1], attention_mask=mask[row : row + 1], seed=seeds[row], **FIELDS, **fields)
        for row in seeds
    ]
    return together, alone


def assert_equal(together, alone, forwards: bool = True) -> None:
    for row, one in enumerate(alone):
        length = one.sequences.shape[1]
        assert together.sequences[row, :length].equal(one.sequences[0]) and together.ended[row] == one.ended[0]
        assert set(together.sequences[row, length:].tolist()) <= {99}
        assert not forwards or together.trace[row].forwards == one.trace[0].forwards


@pytest.mark.parametrize("decoding", DECODERS)
def test_in_float32(decoding, model, planner, batch):
    one = planner if DECODERS[decoding].plans else model
    drafts = "draft_tokens" in DECODERS[decoding].reads  # whose rows are shared by the batch
    assert_equal(*together_and_alone(one, batch, decoding=decoding), forwards=not drafts)


@pytest.fixture(scope="module")
def coarse(build_model):
    return build_model(tokens_per_length_unit=2, dtype=torch.bfloat16)


@pytest.mark.parametrize("decoding", DECODERS)
def test_in_bfloat16_with_one_request_at_a_time(decoding, coarse, batch, monkeypatch):
    """As with --batch-size 1: every forward is the one of the prompt alone."""
    monkeypatch.setattr(Engine.__init__, "__defaults__", (1, *Engine.__init__.__defaults__[1:]))
    assert_equal(*together_and_alone(coarse, batch, decoding=decoding))


@pytest.mark.parametrize("dtype, rounding", [(torch.float32, 1e-5), (torch.bfloat16, 0.06)])
def test_what_differs_is_rounding(dtype, rounding, build_model, batch):
    """The first step's confidences, beside other rows and alone."""
    model = build_model(dtype=dtype)
    together, alone = together_and_alone(model, batch, decoding="diffusion", output_trace=True, unmasking="random")
    compared = 0
    for row, one in enumerate(alone):
        beside, by_itself = together.trace[row].steps[0], one.trace[0].steps[0]
        if beside.token_ids == by_itself.token_ids:
            assert beside.scores == pytest.approx(by_itself.scores, abs=rounding)
            compared += 1
    assert compared >= 3
