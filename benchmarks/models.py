"""Models in the shapes that benchmarks need: random weights, or the embedded checkpoint; nothing is downloaded."""

import torch
from torch import nn
from transformers import AutoModelForCausalLM, Qwen2Config

from planned_diffusion import PlannedDiffusionConfig, PlannedDiffusionForCausalLM
from planned_diffusion.loading.embedded import EMBEDDED

SHAPES = {
    # 630 M parameters: Qwen2.5-0.5B with an untied head
    "630m": {"hidden_size": 896, "intermediate_size": 4864, "num_hidden_layers": 24, "num_attention_heads": 14,
             "num_key_value_heads": 2},
    # Qwen2.5-7B
    "7b": {"hidden_size": 3584, "intermediate_size": 18944, "num_hidden_layers": 28, "num_attention_heads": 28,
           "num_key_value_heads": 4},
    # for trying the benchmarks themselves
    "tiny": {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4,
             "num_key_value_heads": 2},
}  # fmt: skip
CHOICES = ("embedded", *SHAPES)
VOCABULARY = {"tiny": 512}
PUBLISHED_VOCABULARY = 152_064  # rows of the published checkpoints
POSITIONS = 16_384


def load(shape: str, device: str, dtype: torch.dtype = torch.bfloat16) -> PlannedDiffusionForCausalLM:
    """The embedded model, or a random one of this shape, in evaluation mode."""
    if shape == "embedded":
        return PlannedDiffusionForCausalLM.from_pretrained(EMBEDDED, dtype=dtype).to(device).eval()
    return random_model(shape, device, dtype)


def random_model(shape: str, device: str, dtype: torch.dtype = torch.bfloat16) -> PlannedDiffusionForCausalLM:
    """A Qwen2 backbone with random weights; control ids at the end of the vocabulary, as in published checkpoints."""
    torch.manual_seed(0)
    return fill(model_on_meta(shape, dtype), device)


def model_on_meta(shape: str, dtype: torch.dtype) -> PlannedDiffusionForCausalLM:
    """Return such a model without weights; `fill` gives it some."""
    sizes = SHAPES[shape.lower()]
    vocabulary = VOCABULARY.get(shape, PUBLISHED_VOCABULARY)
    last = vocabulary - 8
    config = PlannedDiffusionConfig(
        Qwen2Config(
            vocab_size=vocabulary, max_position_embeddings=POSITIONS, tie_word_embeddings=False, **sizes
        ),
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
    )  # fmt: skip
    default = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with torch.device("meta"):
            return PlannedDiffusionForCausalLM(config).eval()
    finally:
        torch.set_default_dtype(default)


def fill(model: PlannedDiffusionForCausalLM, device: str) -> PlannedDiffusionForCausalLM:
    """Gives every parameter without storage random values: ones for the norms, normal of 0.02 for the rest."""
    for module in model.modules():
        for name, parameter in module.named_parameters(recurse=False):
            if parameter.is_meta:
                setattr(module, name, nn.Parameter(random_like(parameter, device), requires_grad=False))
    rotary = model.model.rotary_emb
    model.model.rotary_emb = type(rotary)(model.config.backbone_config).to(device)  # its tables are computed
    return model


def random_like(parameter: torch.Tensor, device: str) -> torch.Tensor:
    values = torch.empty(parameter.shape, dtype=parameter.dtype, device=device)
    return values.fill_(1.0) if parameter.dim() == 1 else values.normal_(0, 0.02)


def native_twin(model: PlannedDiffusionForCausalLM):
    """Return the native causal language model of transformers over the same parameters."""
    with torch.device("meta"):
        twin = AutoModelForCausalLM.from_config(model.config.backbone_config)
    twin.load_state_dict(model.state_dict(), assign=True)
    twin.model.rotary_emb = model.model.rotary_emb
    return twin.eval()
