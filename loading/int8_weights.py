"""Hold the weights of linear layers in 8 bits: half the bytes to read, and so faster where a CPU runs a few rows.

    weight   w [out, in]  ->  int8 numbers [out, in] and a scale [out]: w[i] = scale[i] x numbers[i], rounded
    product  y = scale x (x @ numbers.T), in the type of x

Activations are not rounded ("W8A16"), so that answers hardly change. Reading the weights is most of a narrow forward's
time on a CPU: one row takes a fifth of the time of bfloat16. Wide forwards are bound by arithmetic, and the products
with 8-bit numbers are slow there: they convert the numbers, or take the weights as they were (the head, whose weights
are those of the embedding and stay in memory anyway).

Source: symmetric quantisation by rows, absolute maximum, as in torchao's weight-only int8 and LLM.int8 (2208.07339).
"""

from typing import Any, cast

import torch
from torch import nn
from torch.nn.functional import linear
from transformers import PreTrainedModel

from .linear_layers import replace_linear_layers

W8A16 = "w8a16"  # its name among data types
LARGEST = 127
NARROW = 16  # rows up to which products with 8-bit numbers are the faster ones (benchmarks/results/profile.md)


class Int8Linear(nn.Module):
    """A linear layer, for inference, whose weights are 8-bit numbers with a scale per row.

    Args:
        layer: whose weights are rounded.
        keep: keep it for wide forwards.
    """

    def __init__(self, layer: nn.Linear, keep: bool = False) -> None:
        super().__init__()
        self.wide = layer if keep else None
        self.in_features, self.out_features = layer.in_features, layer.out_features
        weight = layer.weight.detach().float()  # [out, in]
        scale = weight.abs().amax(dim=1).clamp(min=torch.finfo(torch.float32).tiny) / LARGEST  # [out]
        scale = scale.to(layer.weight.dtype)  # as it will be multiplied
        numbers = (weight / scale.float()[:, None]).round().clamp(-LARGEST, LARGEST)
        self.register_buffer("weight", numbers.to(torch.int8))
        self.register_buffer("scale", scale)
        self.register_buffer("bias", None if layer.bias is None else layer.bias.detach())

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        """Return the product, [..., out], of states [..., in]."""
        weight, scale = cast(torch.Tensor, self.weight), cast(torch.Tensor, self.scale)
        rows = states.reshape(-1, self.in_features)
        if rows.shape[0] > NARROW and self.wide is not None:
            return self.wide(states)
        if rows.shape[0] > NARROW:
            out = linear(rows, weight.to(rows.dtype)) * scale
        else:
            out = torch.ops.aten._weight_int8pack_mm(rows, weight, scale)
        if self.bias is not None:
            out = out + cast(torch.Tensor, self.bias)
        return out.view(*states.shape[:-1], self.out_features)

    def extra_repr(self) -> str:
        return f"in_features={self.in_features}, out_features={self.out_features}, bias={self.bias is not None}"

    def _save_to_state_dict(self, *args: Any, **kwargs: Any) -> None:
        raise ValueError("Weights that were rounded to 8 bits are not saved; load the model in bfloat16 to save it.")


def check_device(device: torch.device | str) -> None:
    """Reject a device on which 8-bit weights are slower.

    Raises:
        ValueError: no CPU.
    """
    if torch.device(device).type != "cpu":
        raise ValueError(f"{W8A16} is faster on a CPU only, and the device is {device}; give int8, nf4 or bfloat16.")


def round_model(model: PreTrainedModel) -> None:
    """Round the weights of a model's backbone and head, in place."""
    head = model.get_output_embeddings()
    replace_linear_layers(model.base_model, Int8Linear)
    model.set_output_embeddings(Int8Linear(cast(nn.Linear, head), keep=True))
