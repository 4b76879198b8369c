"""Multiply in 8 bits, weights and activations: what a CPU has instructions of its own for (VNNI, AMX).

    weights      w [out, in]   ->  8-bit numbers [out, in] and a scale per row, as in int8_weights.py
    activations  x [rows, in]  ->  8-bit numbers from 0 to 255 between each row's lowest and highest value:
                                   x = low + step x numbers, rounded
    product      y = scale x (step x (numbers @ weights.T) + low x sums of the weights)

The matrix product is one of whole numbers, hence exact: a row's result does not depend on the rows beside it, and a
wide forward gives the very numbers of a narrow one. Rows cost less than in bfloat16 or with 8-bit weights alone
(benchmarks/results/profile.md), which is what drafts and parallel parts need. Rounding the activations takes a dozen
small operations, which torch.compile makes one; layers that read the same activations share them (shared_inputs.py).

Source: dynamic quantisation by rows of activations, as in ZeroQuant (2206.01861) and torchao; products by oneDNN.
"""

from typing import Any, cast

import torch
from torch import nn

from .int8_weights import NOT_SAVED, rounded_rows

W8A8 = "w8a8"  # its name among data types
STEPS = 255


def multiply(
    numbers: torch.Tensor, weight: torch.Tensor, scale: torch.Tensor, zero_points: torch.Tensor
) -> torch.Tensor:
    """Return scale x (numbers @ weight.T), float32 [rows, out].

    Args:
        numbers: uint8 [rows, in].
        weight: int8 [out, in], packed by `pack`.
        scale: float32 [out].
        zero_points: of the weights, int64 [out]; all 0.
    """
    return torch.ops.onednn.qlinear_pointwise(
        numbers, 1.0, 0, weight, scale, zero_points, None, 1.0, 0, torch.float32, "none", [], ""
    )


# The same as one operation, which torch.compile leaves as it is; it takes 60 us longer.
int8_product = torch.library.custom_op("planned_diffusion::int8_product", multiply, mutates_args=())


@int8_product.register_fake
def _(numbers: torch.Tensor, weight: torch.Tensor, scale: torch.Tensor, zero_points: torch.Tensor) -> torch.Tensor:
    return numbers.new_empty(numbers.shape[0], scale.shape[0], dtype=torch.float32)


@torch.compiler.assume_constant_result
def weights_are_frozen() -> bool:
    """Return whether code that is being compiled takes weights for constants, as its 8-bit products require."""
    from torch._inductor import config

    return bool(config.freezing)


def pack(numbers: torch.Tensor) -> torch.Tensor:
    """Return int8 weights [out, in] in oneDNN's layout."""
    return torch.ops.onednn.qlinear_prepack(numbers, None)


class Int8ProductLinear(nn.Module):
    """A linear layer, for inference on a CPU, that multiplies 8-bit weights with 8-bit activations.

    Args:
        layer: whose weights are rounded.

    Attributes:
        weight: of no numbers, for its shape alone.
    """

    def __init__(self, layer: nn.Linear) -> None:
        super().__init__()
        self.in_features, self.out_features = layer.in_features, layer.out_features
        self.weight = torch.empty(layer.weight.shape, device="meta")
        numbers, scale = rounded_rows(layer.weight.detach())
        self.packed = pack(numbers)
        self.register_buffer("scale", scale)  # float32 [out]
        self.register_buffer("sums", numbers.sum(dim=1) * scale)  # float32 [out]
        self.register_buffer("zero_points", torch.zeros(len(scale), dtype=torch.int64))
        self.register_buffer("bias", None if layer.bias is None else layer.bias.detach().float())

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        """Return the product, [..., out] in the type of the states, of states [..., in]."""
        rows = states.reshape(-1, self.in_features).float()
        low, high = rows.amin(dim=-1, keepdim=True), rows.amax(dim=-1, keepdim=True)  # float32 [rows, 1]
        step = ((high - low) / STEPS).clamp(min=torch.finfo(torch.float32).tiny)
        numbers = ((rows - low) / step).round().to(torch.uint8)
        is_plain = not torch.compiler.is_compiling() or weights_are_frozen()
        product = multiply if is_plain else int8_product
        scale, zero_points = cast(torch.Tensor, self.scale), cast(torch.Tensor, self.zero_points)
        out = step * product(numbers, self.packed, scale, zero_points) + low * cast(torch.Tensor, self.sums)
        if self.bias is not None:
            out = out + cast(torch.Tensor, self.bias)
        return out.to(states.dtype).view(*states.shape[:-1], self.out_features)

    def extra_repr(self) -> str:
        return f"in_features={self.in_features}, out_features={self.out_features}, bias={self.bias is not None}"

    def _save_to_state_dict(self, *args: Any, **kwargs: Any) -> None:
        raise ValueError(NOT_SAVED)


def multiplies_exactly() -> bool:
    """Return whether this CPU's 8-bit products are exact; without instructions for them, sums of pairs overflow."""
    if not (torch.backends.mkldnn.is_available() and hasattr(torch.ops.onednn, "qlinear_pointwise")):
        return False
    largest, columns = 127, 64
    numbers = torch.full((2, columns), STEPS, dtype=torch.uint8)
    try:
        weight = pack(torch.full((16, columns), largest, dtype=torch.int8))
        product = multiply(numbers, weight, torch.ones(16), torch.zeros(16, dtype=torch.int64))
    except RuntimeError:  # no such product on this kind of CPU
        return False
    return bool((product == STEPS * largest * columns).all())
