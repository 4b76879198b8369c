"""Random models in the shapes that benchmarks need; nothing is downloaded."""

import torch
from transformers import Qwen2Config

from planned_diffusion import PlannedDiffusionConfig, PlannedDiffusionForCausalLM

SHAPES = {
    # 630 M parameters: Qwen2.5-0.5B with an untied head
    "630M": {"hidden_size": 896, "intermediate_size": 4864, "num_hidden_layers": 24, "num_attention_heads": 14,
             "num_key_value_heads": 2},
    "7B": {"hidden_size": 3584, "intermediate_size": 18944, "num_hidden_layers": 28, "num_attention_heads": 28,
           "num_key_value_heads": 4},
}  # fmt: skip
VOCABULARY = 151_680


def random_model(shape: str, device: str, dtype: torch.dtype = torch.bfloat16) -> PlannedDiffusionForCausalLM:
    """A Qwen2 backbone with random weights; control ids at the end of the vocabulary, as in published checkpoints."""
    torch.manual_seed(0)
    last = VOCABULARY - 8
    config = PlannedDiffusionConfig(
        Qwen2Config(vocab_size=VOCABULARY, max_position_embeddings=8192, tie_word_embeddings=False, **SHAPES[shape]),
        eos_token_id=last,
        mask_token_id=last + 1,
        async_start_token_id=last + 2,
        async_end_token_id=last + 3,
        promise_start_token_id=last + 4,
        topic_end_token_id=last + 5,
        sync_token_id=last + 6,
        span_pad_token_id=last + 7,
        digit_token_ids=list(range(15, 25)),
        dtype=dtype,
    )
    with torch.device(device):
        default = torch.get_default_dtype()
        torch.set_default_dtype(dtype)
        try:
            return PlannedDiffusionForCausalLM(config).eval()
        finally:
            torch.set_default_dtype(default)
