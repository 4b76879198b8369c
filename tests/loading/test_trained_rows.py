"""Trained rows of tokens come along, whoever loads the adapter, with a head that is tied or not."""

import pytest
import torch
from transformers import AutoModel, AutoModelForCausalLM

from planned_diffusion.loading.load import load
from planned_diffusion.modeling_planned_diffusion import PlannedDiffusionForCausalLM

peft = pytest.importorskip("peft")
IDS = torch.tensor([[5, 101, 104, 33, 107]])


@pytest.fixture(params=[True, False], ids=["tied", "untied"])
def adapter(request, build_model, byte_tokenizer, tmp_path):
    """(logits of the adapted model, folder of the adapter, folder of the base)."""
    base, folder = str(tmp_path / "base"), str(tmp_path / "adapter")
    build_model(tie=request.param).save_pretrained(base)
    for place in (base, folder):
        byte_tokenizer.save_pretrained(place)
    rows = {"embed_tokens": [101, 104, 107]} | ({} if request.param else {"lm_head": [101, 104, 107]})
    settings = peft.LoraConfig(
        r=2, target_modules=["q_proj"], init_lora_weights=False, task_type="CAUSAL_LM", trainable_token_indices=rows
    )
    torch.manual_seed(0)
    adapted = peft.get_peft_model(PlannedDiffusionForCausalLM.from_pretrained(base), settings).eval()
    for name, weight in adapted.named_parameters():
        if "trainable_tokens_delta" in name:
            weight.data += torch.randn_like(weight)
    adapted.save_pretrained(folder)
    return logits(adapted), folder, base


@torch.no_grad()
def logits(model) -> torch.Tensor:
    return model(input_ids=IDS).logits


def by_name(folder: str, base: str):
    model = PlannedDiffusionForCausalLM.from_pretrained(base)
    model.load_adapter(folder, adapter_name="other")
    return model


DOORS = {
    "AutoModelForCausalLM": lambda folder, base: AutoModelForCausalLM.from_pretrained(folder),
    "AutoModel": lambda folder, base: AutoModel.from_pretrained(folder),
    "load_adapter": by_name,
    "PeftModel": lambda folder, base: peft.PeftModel.from_pretrained(
        PlannedDiffusionForCausalLM.from_pretrained(base), folder
    ),
    "the command line": lambda folder, base: load(folder)[0],
    "merged": lambda folder, base: load(folder, merge=True)[0],
}


@pytest.mark.parametrize("door", DOORS)
def test_through_every_door(door, adapter):
    expected, folder, base = adapter
    plain = logits(PlannedDiffusionForCausalLM.from_pretrained(base))
    assert (expected - plain)[0, 1].abs().max() > 0.1
    torch.testing.assert_close(logits(DOORS[door](folder, base)), expected, atol=1e-5, rtol=1e-4)
