"""`decoding="autoregressive"` is the native model's own greedy `generate`, but for tags, which it never writes."""

import pytest
import torch
from transformers import AutoModelForCausalLM

from planned_diffusion.modeling_planned_diffusion import PlannedDiffusionForCausalLM

TAGS = [101, 102, 103, 104, 105, 106, 107]


def native_of(model):
    native = AutoModelForCausalLM.from_config(model.config.backbone_config).eval()
    native.load_state_dict(model.state_dict())
    return native


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("architecture", ["qwen2", "qwen3", "llama"])
def test_token_for_token(architecture, seed, build_model, prompts, left_padded):
    ours = build_model(architecture, seed=seed)
    ids, mask = left_padded(prompts(5, 12, seed=seed))
    out = ours.generate(ids, attention_mask=mask, decoding="autoregressive", max_new_tokens=40, pad_token_id=99)
    expected = native_of(ours).generate(
        ids,
        attention_mask=mask,
        do_sample=False,
        max_new_tokens=40,
        eos_token_id=100,
        pad_token_id=99,
        suppress_tokens=TAGS,
    )
    assert out.equal(expected)
    assert out.shape[1] > ids.shape[1] + 20


def test_a_checkpoint_without_tags_decodes_like_the_native_one(build_model):
    ours = build_model(plans=False, backbone={"eos_token_id": 100})
    ids = torch.tensor([[5, 60, 33]])
    out = ours.generate(ids, decoding="autoregressive", max_new_tokens=40)
    expected = native_of(ours).generate(ids, do_sample=False, max_new_tokens=40, eos_token_id=100, pad_token_id=100)
    assert out.equal(expected)


def test_a_backbone_may_list_several_eos(build_model):
    """As Llama 3 does."""
    one, several = (build_model(plans=False, backbone={"eos_token_id": ids}) for ids in (100, [100, 99]))
    ids = torch.tensor([[5, 60, 33]])
    out = several.generate(ids, decoding="autoregressive", max_new_tokens=20)
    expected = one.generate(ids, decoding="autoregressive", max_new_tokens=20, eos_token_id=[100, 99])
    assert out.equal(expected)


def test_a_checkpoint_without_tags_and_without_eos_writes_to_the_end(build_model):
    ours = build_model(plans=False)
    ids = torch.tensor([[5, 60, 33], [7, 8, 9]])
    out = ours.generate(ids, decoding="autoregressive", max_new_tokens=10)
    assert out.equal(native_of(ours).generate(ids, do_sample=False, max_new_tokens=10))


def test_a_checkpoint_with_some_ids_decodes_left_to_right(build_model):
    """Diffusion backbones come with a mask token and without tags."""
    ours = build_model(plans=False, mask_token_id=101, eos_token_id=100)
    out = ours.generate(torch.tensor([[5, 60, 33]]), decoding="autoregressive", max_new_tokens=10)
    assert out.shape[1] > 3 and 101 not in out[0, 3:].tolist()


def test_any_eos_ends_the_answer(build_model):
    ours = build_model()
    ids = torch.tensor([[5, 60, 33]])
    whole = ours.generate(ids, decoding="autoregressive", max_new_tokens=30)[0].tolist()
    end = whole[8]
    out = ours.generate(
        ids, decoding="autoregressive", max_new_tokens=30, eos_token_id=[100, end], return_dict_in_generate=True
    )
    assert out.sequences[0].tolist() == whole[: whole.index(end, 3) + 1] and out.ended == ["eos"]


def test_a_checkpoint_given_its_tags_can_plan(build_model, build_config):
    """The way of a plain backbone to a planner: ids into the config, and it plans."""
    plain = build_model(plans=False)
    tagged = PlannedDiffusionForCausalLM(build_config(tokens_per_length_unit=2)).eval()
    tagged.load_state_dict(plain.state_dict())
    plan = [[[104, 30, 17, 105, 100]]]
    out = tagged.generate(torch.tensor([[5, 60]]), plan=plan, max_new_tokens=30, return_dict_in_generate=True)
    assert [span.length for span in out.plans[0][0]] == [4]


def test_sampling_left_to_right_is_reproducible(build_model):
    ours = build_model()
    ids = torch.tensor([[5, 60, 33]])
    fields = {"decoding": "autoregressive", "max_new_tokens": 20, "do_sample": True, "temperature": 0.7, "top_p": 0.9}
    first, again, other = (ours.generate(ids, seed=seed, **fields).tolist() for seed in (1, 1, 2))
    assert first == again != other
    assert not set(first[0][3:]) & set(TAGS)
