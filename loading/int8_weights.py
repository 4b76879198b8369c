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

W8A16 = "w8a16"  # its name among data types
LARGEST = 127
NOT_SAVED = "Weights that were rounded to 8 bits are not saved; load the model in bfloat16 to save it."
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
        numbers, scale = rounded_rows(layer.weight.detach(), layer.weight.dtype)
        self.register_buffer("weight", numbers)
        self.register_buffer("scale", scale.to(layer.weight.dtype))
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
        raise ValueError(NOT_SAVED)


def rounded_rows(weight: torch.Tensor, dtype: torch.dtype = torch.float32) -> tuple[torch.Tensor, torch.Tensor]:
    """Return a weight [out, in] as int8 numbers [out, in] and a scale, float32 [out].

    Args:
        dtype: in which the scale will be multiplied; it is rounded to that before the weights are.
    """
    weight = weight.float()
    scale = weight.abs().amax(dim=1).clamp(min=torch.finfo(torch.float32).tiny) / LARGEST
    scale = scale.to(dtype).float()
    return (weight / scale[:, None]).round().clamp(-LARGEST, LARGEST).to(torch.int8), scale
