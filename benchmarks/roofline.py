"""The unavoidable work of a forward: bytes that must move and floating-point operations.

Counted are the weights once, the head once if any row is wanted, keys and values of every slot that is seen, the logits
of the wanted rows, and two operations per weight and token (per weight of the head and wanted row), four per head
dimension and pair of tokens in attention. Activations are taken to stay in the processor, so this is a lower bound.
"""

from dataclasses import dataclass

import torch
from torch import nn


@dataclass(frozen=True)
class Work:
    bytes: float = 0.0
    flops: float = 0.0

    def __add__(self, other: "Work") -> "Work":
        return Work(self.bytes + other.bytes, self.flops + other.flops)

    def times(self, factor: float) -> "Work":
        return Work(self.bytes * factor, self.flops * factor)


def forward_work(model, tokens: int, slots: int, pairs: int, wanted: int) -> Work:
    """One packed forward.

    Args:
        model: a `PlannedDiffusionForCausalLM`, quantised or not.
        tokens: N that run, over all requests.
        slots: keys and values that attention reads, over all requests, the running tokens' own included.
        pairs: (query, key) pairs that see each other.
        wanted: W rows that get logits.
    """
    config, head = model.config.get_text_config(), model.get_output_embeddings().weight
    size = head.element_size()
    heads = config.num_attention_heads
    head_size = getattr(config, "head_dim", None) or config.hidden_size // heads
    states = 2 * config.num_hidden_layers * config.num_key_value_heads * head_size * size  # bytes per slot
    moved = trunk_bytes(model) + tokens * config.hidden_size * size + slots * states
    flops = 2 * tokens * trunk_weights(model) + 4 * pairs * heads * head_size * config.num_hidden_layers
    if wanted:
        moved += head.numel() * size + wanted * head.shape[0] * size
        flops += 2 * wanted * head.numel()
    return Work(moved, flops)


def trunk_bytes(model) -> int:
    """Return the bytes of the layers' parameters as stored, with the quantised state of their blocks."""
    table = model.get_input_embeddings().weight
    total = 0
    for parameter in model.base_model.parameters():
        if parameter is not table:
            state = getattr(parameter, "quant_state", None)
            total += bytes_of(parameter) + (0 if state is None else bytes_of(state.absmax))
    return total


def bytes_of(tensor: torch.Tensor) -> int:
    """Bytes of a tensor as it is stored; torchao's look like bfloat16, and are made of several others."""
    inner = getattr(tensor, "__tensor_flatten__", None)
    if inner is None:
        return tensor.numel() * tensor.element_size()
    parts = (getattr(tensor, name) for name in inner()[0])
    return sum(bytes_of(part) for part in parts if isinstance(part, torch.Tensor))


def trunk_weights(model) -> int:
    """Weights of the layers' matrices, however they are stored."""
    return sum(
        layer.in_features * layer.out_features for layer in model.base_model.modules() if isinstance(layer, nn.Linear)
    )


def weight_bytes(model) -> int:
    """Return the bytes of the model that a forward with logits reads."""
    head = model.get_output_embeddings().weight
    return trunk_bytes(model) + head.numel() * head.element_size()


def stored_bytes(model) -> int:
    """Return the bytes of all weights, with the embedding if it is not the head."""
    table, head = model.get_input_embeddings().weight, model.get_output_embeddings().weight
    return weight_bytes(model) + (0 if table is head else table.numel() * table.element_size())
