"""Trained rows of tokens come along, whoever loads the adapter, with a head that is tied or not."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
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


def change_rows(folder: str, change) -> None:
    file = Path(folder) / "adapter_model.safetensors"
    stored = load_file(file)
    save_file({name: kept for name, rows in stored.items() if (kept := change(name, rows)) is not None}, file)


LACKING = {
    "no rows": lambda name, rows: None if "trainable_tokens" in name else rows,
    "none of the embedding": lambda name, rows: None if "embed_tokens" in name else rows,
}
BY_LOADING = [door for door in DOORS if door != "PeftModel"]  # which is PEFT's own and warns


@pytest.mark.parametrize("door", BY_LOADING)
@pytest.mark.parametrize("change", LACKING)
@pytest.mark.filterwarnings("ignore")
def test_a_file_that_lacks_them_is_refused_in_a_sentence(change, door, adapter):
    _, folder, base = adapter
    change_rows(folder, LACKING[change])
    with pytest.raises(ValueError, match=r"adapter lacks the trained rows of embed_tokens.*, which its adapter_config"):
        DOORS[door](folder, base)


@pytest.mark.parametrize("door", ["AutoModelForCausalLM", "the command line"])
@pytest.mark.filterwarnings("ignore")
def test_a_file_with_fewer_rows_is_refused_in_a_sentence(door, adapter):
    _, folder, base = adapter
    change_rows(folder, lambda name, rows: rows[:2].clone() if "trainable_tokens" in name else rows)
    with pytest.raises(ValueError, match=r"stores \[2, 64\] trained rows|weights do not fit its base"):
        DOORS[door](folder, base)
