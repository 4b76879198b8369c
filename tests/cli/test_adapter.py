"""`generate --model` on an adapter's folder: the base is found, and the answer is that of the adapted model."""

import pytest
import torch

from planned_diffusion.modeling_planned_diffusion import PlannedDiffusionForCausalLM
from planned_diffusion.records.encoding import encode_prompt


@pytest.fixture
def adapter(checkpoint, tokenizer, tmp_path):
    """(adapted model, folder of the adapter alone)."""
    peft = pytest.importorskip("peft")
    _, base = checkpoint
    model = PlannedDiffusionForCausalLM.from_pretrained(base)
    torch.manual_seed(0)
    settings = peft.LoraConfig(r=2, target_modules="all-linear", init_lora_weights=False, lora_alpha=1)
    adapted = peft.get_peft_model(model, settings).eval()
    adapted.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    return adapted, tmp_path


def test_the_adapter_answers(run, adapter, checkpoint, tokenizer):
    adapted, folder = adapter
    ids = torch.tensor([encode_prompt(tokenizer, "What?")])
    expected = adapted.generate(input_ids=ids, tokenizer=tokenizer)[0, ids.shape[1] :]
    assert expected.tolist() != checkpoint[0].generate(ids, tokenizer=tokenizer)[0, ids.shape[1] :].tolist()
    ran = run("generate", "What?", "--model", folder)
    assert (ran.status, ran.err) == (0, "")
    assert ran.out == tokenizer.decode(expected, skip_special_tokens=True) + "\n"


def test_a_trained_prompt_is_refused_rather_than_left_out(run, checkpoint, tokenizer, tmp_path):
    peft = pytest.importorskip("peft")
    model = PlannedDiffusionForCausalLM.from_pretrained(checkpoint[1])
    sizes = {"num_virtual_tokens": 2, "num_layers": 2, "token_dim": 32, "num_attention_heads": 2}
    peft.get_peft_model(model, peft.PromptTuningConfig(task_type="CAUSAL_LM", **sizes)).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    ran = run("generate", "What?", "--model", tmp_path)
    assert (ran.status, ran.out) == (2, "")
    assert "it trains a prompt (PROMPT_TUNING), which generate would leave out" in ran.err


def test_a_base_that_is_gone_and_peft_that_is_missing(run, adapter, monkeypatch):
    from planned_diffusion.loading import adapter_base as loading

    config = adapter[1] / "adapter_config.json"
    whole = config.read_text()
    config.write_text(whole.replace('"base_model_name_or_path": "', '"base_model_name_or_path": "/gone'))
    ran = run("generate", "What?", "--model", adapter[1])
    assert ran.status == 2 and "cannot be loaded" in ran.err and "/gone" in ran.err
    monkeypatch.setattr(loading, "is_peft_available", lambda: False)
    ran = run("generate", "What?", "--model", adapter[1])
    assert ran.status == 2 and "pip install peft" in ran.err
