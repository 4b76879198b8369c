"""SmolLM2-135M-Instruct from its wheel: what the conversion writes is what the original writes.

Skipped where the wheel is missing. The model is converted into the user's cache, where the commands find it too.
"""

import pytest
import torch
from transformers import AutoModelForCausalLM, GgufConfig

from planned_diffusion.generation.draft_adapter import new_settings
from planned_diffusion.generation.draft_gate import ARGUMENT, gate_adapter
from planned_diffusion.generation.visibility import DRAFT, Labels, attention_mask
from planned_diffusion.hub.convert.base_conversion import bring
from planned_diffusion.loading.bases import BASES, wheel_file
from planned_diffusion.loading.load import load
from planned_diffusion.records.encoding import encode_prompt

pytest.importorskip("gguf", reason="GGUF files need: pip install 'planned-diffusion[gguf]'")

SMOLLM2 = BASES["smollm2"]
PROMPTS = ("Tell me about owls.", "Give me three tips for better sleep.", "12 + 35\n\n1. Add.\n\n2. Say it.", "Hello!")
TOKENS = 40

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(wheel_file(SMOLLM2) is None, reason=f"the real model needs: {SMOLLM2.install}"),
]


def test_left_to_right_answers_are_native_greedy_ones():
    file = wheel_file(SMOLLM2)
    native = AutoModelForCausalLM.from_pretrained(
        file.parent, gguf_file=file.name, dtype=torch.bfloat16, quantization_config=GgufConfig(dequantize=True)
    ).float()
    model, tokenizer = load(str(bring(SMOLLM2)), dtype="float32")
    for prompt in PROMPTS:
        ids = torch.tensor([encode_prompt(tokenizer, prompt)])
        expected = native.generate(ids, attention_mask=ids.new_ones(ids.shape), max_new_tokens=TOKENS, do_sample=False)
        assert expected.shape[1] > ids.shape[1]
        assert torch.equal(model.generate(ids, decoding="autoregressive", max_new_tokens=TOKENS), expected), prompt


@torch.no_grad()
def test_a_gated_drafter_leaves_all_rows_but_drafts_bit_equal():
    """Random weights that change the drafts a lot; three groups of blanks behind a prompt, and then whole answers."""
    peft = pytest.importorskip("peft")
    model, tokenizer = load(str(bring(SMOLLM2)), dtype="float32")
    ids = torch.tensor([encode_prompt(tokenizer, PROMPTS[0])])
    fields = {"max_new_tokens": TOKENS, "do_sample": False}
    answer = model.generate(ids, decoding="autoregressive", **fields)
    count, anchors = ids.shape[1], [2, 5, ids.shape[1] - 1]
    stream = torch.tensor([[0] * count + [DRAFT + anchor for anchor in anchors for _ in range(3)]])
    position = torch.tensor([[*range(count), *(anchor + 1 + offset for anchor in anchors for offset in range(3))]])
    nothing = torch.zeros_like(stream)
    labels = Labels(nothing, nothing - 1, nothing, stream, position)
    blanks = torch.full((1, 9), model.config.mask_token_id)
    inputs = {"input_ids": torch.cat([ids, blanks], dim=1), "position_ids": position}
    inputs["attention_mask"] = attention_mask(labels, labels, "sdpa", torch.float32)
    plain, drafts = model(**inputs).logits, stream >= DRAFT
    torch.manual_seed(0)
    settings = new_settings(r=4, target_modules="all-linear", task_type="CAUSAL_LM", init_lora_weights=False)
    gate_adapter(peft.get_peft_model(model, settings).eval())
    gated = model(**inputs, **{ARGUMENT: drafts}).logits
    assert torch.equal(gated[~drafts].view(torch.int32), plain[~drafts].view(torch.int32))
    assert ((gated - plain)[drafts].abs().amax(-1) > 0.1).all()
    out = model.generate(ids, decoding="speculative", draft_tokens=3, return_dict_in_generate=True, **fields)
    assert out.sequences.equal(answer) and out.trace[0].drafts_checked
