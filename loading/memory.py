"""Count the memory that a checkpoint needs, from its configuration alone."""

from dataclasses import dataclass

import torch
from torch import nn

from ..configuration_planned_diffusion import PlannedDiffusionConfig
from ..modeling_planned_diffusion import PlannedDiffusionForCausalLM

UNITS = ("B", "kB", "MB", "GB")
NF4_BLOCK = 64  # weights that share one float32 scale, as bitsandbytes does by default


@dataclass(frozen=True)
class Memory:
    """The memory of a model, in bytes.

    Attributes:
        parameters: number of parameters, tied ones counted once.
        weights: data type in which the weights are loaded -> bytes of all weights.
        cache_per_token: bytes of the keys and values of one cached token in bfloat16.
    """

    parameters: int
    weights: dict[str, int]
    cache_per_token: int


def memory_of(config: PlannedDiffusionConfig) -> Memory:
    """Count the memory of a model on the meta device, where no weights are allocated.

    int8 and nf4 are those of bitsandbytes: it quantizes the linear layers of the backbone, not head and embeddings.
    """
    with torch.device("meta"):
        model = PlannedDiffusionForCausalLM(config)
    model.tie_weights()
    linear = [module.weight for module in model.model.modules() if isinstance(module, nn.Linear)]
    quantized, rows = sum(weight.numel() for weight in linear), sum(weight.shape[0] for weight in linear)
    parameters = sum(parameter.numel() for parameter in model.parameters())  # tied ones once
    rest = 2 * (parameters - quantized)
    backbone = config.get_text_config()
    head_size = getattr(backbone, "head_dim", None) or backbone.hidden_size // backbone.num_attention_heads
    return Memory(
        parameters=parameters,
        weights={
            "float32": 4 * parameters,
            "bfloat16": 2 * parameters,
            "int8 (bitsandbytes)": rest + quantized + 4 * rows,
            "nf4 (bitsandbytes)": rest + quantized // 2 + 4 * quantized // NF4_BLOCK,
        },
        cache_per_token=2 * 2 * backbone.num_hidden_layers * backbone.num_key_value_heads * head_size,
    )


def readable(size: int) -> str:
    """Return a number of bytes in the largest fitting unit: 9.6 MB."""
    unit, scaled = 0, float(size)
    while scaled >= 1000 and unit < len(UNITS) - 1:
        scaled, unit = scaled / 1000, unit + 1
    return f"{scaled:.1f} {UNITS[unit]}" if unit and scaled < 100 else f"{scaled:.0f} {UNITS[unit]}"
