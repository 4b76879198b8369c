"""Hold the bfloat16 weights of linear layers in the layout in which oneDNN multiplies them on a CPU.

    weight   w [out, in], row by row  ->  the same numbers in blocks, ordered once at loading
    product  the same

A product takes a plain weight apart again in every forward, so that one row of SmolLM2-135M spends 14 ms in products
where packed weights take 8, 32 rows 19 and 15 (benchmarks/results/profile.md). torch.compile packs frozen weights in
the same way (`torch._inductor.fx_passes.mkldnn_fusion`), which takes minutes of compiling. The plain weights are given
up, but for a head's that are the embedding's, too.
"""

from typing import Any, cast

import torch
from torch import nn
from transformers import PreTrainedModel

from .linear_layers import replace_linear_layers


def pack(weight: torch.Tensor) -> torch.Tensor:
    """Return a bfloat16 weight [out, in] in oneDNN's layout; `to_dense` gives the same numbers back."""
    return torch.ops.mkldnn._reorder_linear_weight(weight, None)


def multiply(states: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    """Return the product, [..., out], of states [..., in] with a packed weight [out, in]."""
    return torch.ops.mkldnn._linear_pointwise(states, weight, bias, "none", [], "")


# The same as one operation, which torch.compile leaves as it is; called directly it takes 10 us longer.
packed_product = torch.library.custom_op("planned_diffusion::packed_product", multiply, mutates_args=())


@packed_product.register_fake
def _(states: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    return states.new_empty(*states.shape[:-1], weight.shape[0])


class PackedLinear(nn.Module):
    """A linear layer, for inference on a CPU, whose bfloat16 weight is packed by oneDNN.

    Args:
        layer: whose weight is packed.
        keep: keep the plain weight, too, since something else holds it anyway.

    Attributes:
        packed: the weight [out, in] in a layout of oneDNN's own; no parameter, since it is neither trained nor moved.
        weight: the plain one, where it is kept, or else the packed one, for its shape.
    """

    def __init__(self, layer: nn.Linear, keep: bool = False) -> None:
        super().__init__()
        self.in_features, self.out_features = layer.in_features, layer.out_features
        self.packed = pack(layer.weight.detach())
        self.weight = layer.weight if keep else self.packed
        self.register_buffer("bias", None if layer.bias is None else layer.bias.detach())

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        """Return the product, [..., out], of states [..., in], without a gradient."""
        bias = cast(torch.Tensor | None, self.bias)
        product = packed_product if torch.compiler.is_compiling() else multiply
        return product(states, self.packed, bias)

    def extra_repr(self) -> str:
        return f"in_features={self.in_features}, out_features={self.out_features}, bias={self.bias is not None}"

    def __getstate__(self) -> dict[str, Any]:  # to copy or pickle it: what is packed cannot be
        return {name: value for name, value in self.__dict__.items() if name != "weight"} | {
            "packed": self.packed.to_dense()
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self.packed = pack(state["packed"])
        if "weight" not in self._parameters:
            self.weight = self.packed

    def _save_to_state_dict(self, destination: dict[str, Any], prefix: str, keep_vars: bool) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        if "weight" not in self._parameters:
            destination[f"{prefix}weight"] = self.packed.to_dense()


def pack_weights(model: PreTrainedModel, head_only: bool = False) -> None:
    """Pack the weights of a model's backbone and head, in place, where they are bfloat16 and oneDNN multiplies that.

    Args:
        head_only: leave the backbone, which will be compiled.
    """
    if model.device.type != "cpu" or model.dtype != torch.bfloat16 or not packs():
        return
    head = model.get_output_embeddings()
    if not head_only:
        replace_linear_layers(model.base_model, packed)
    if isinstance(head, nn.Linear):
        is_tied = head.weight is model.get_input_embeddings().weight
        model.set_output_embeddings(packed(head, keep=is_tied))


def packed(layer: nn.Linear, keep: bool = False) -> nn.Module:
    """Return a layer with its weight packed, or as it is where that is of another type."""
    return PackedLinear(layer, keep) if layer.weight.dtype == torch.bfloat16 else layer


def packs() -> bool:
    """Return whether oneDNN multiplies bfloat16 here, by the operators of torch's own compiler."""
    operators = torch.ops.mkldnn
    has_operators = all(hasattr(operators, name) for name in ("_reorder_linear_weight", "_linear_pointwise"))
    return torch.backends.mkldnn.is_available() and has_operators and operators._is_mkldnn_bf16_supported()
