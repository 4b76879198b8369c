"""SmolLM2-135M-Instruct from its wheel: what the conversion writes is what the original writes.

Skipped where the wheel is missing. The model is converted into the user's cache, where the commands find it too.
"""

import pytest
import torch
from transformers import AutoModelForCausalLM, GgufConfig

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
