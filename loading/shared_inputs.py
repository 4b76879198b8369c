"""Join linear layers that read the same states into one product: queries, keys and values; gate and up.

    q, k, v of [out_q, in], [out_k, in], [out_v, in]   ->   one product [out_q + out_k + out_v, in], split

A narrow forward reads weights for most of its time, and one large matrix is read faster than three small ones. The
first layer of a group that is asked computes for all, and the others hand out their part, as long as they are asked
with the same states; asked with other states, a layer computes anew.
"""

from collections.abc import Callable, Sequence

import torch
from torch import nn

GROUPS = (("q_proj", "k_proj", "v_proj"), ("gate_proj", "up_proj"))  # names in transformers' Llama, Qwen2, Qwen3, ...


class SharedProduct(nn.Module):
    """The product of several linear layers that read the same states.

    Args:
        layers: of one type and input, all with a bias or none.
        replacement: makes the layer that multiplies of the joined one.
    """

    def __init__(self, layers: Sequence[nn.Linear], replacement: Callable[[nn.Linear], nn.Module]) -> None:
        super().__init__()
        self.sizes = [layer.out_features for layer in layers]
        self.product = replacement(joined(layers))
        self._held: tuple[torch.Tensor, tuple[torch.Tensor, ...]] | None = None  # states, and a part per layer

    def part(self, index: int, states: torch.Tensor) -> torch.Tensor:
        """Return the product, [..., out], of the layer of an index; the last layer lets go what is held."""
        held = self._held  # read once: other threads may write it
        if held is None or held[0] is not states:
            held = states, self.product(states).split(self.sizes, dim=-1)
        self._held = None if index == len(self.sizes) - 1 else held
        return held[1][index]


class SharedPart(nn.Module):
    """One of the layers of a `SharedProduct`, which only the first of them holds as its own."""

    def __init__(self, shared: SharedProduct, index: int) -> None:
        super().__init__()
        self.index = index
        if index == 0:
            self.shared = shared
        else:
            self.__dict__["shared"] = shared  # no second registration of its weights

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        """Return the product, [..., out], of states [..., in]."""
        return self.shared.part(self.index, states)


def joined(layers: Sequence[nn.Linear]) -> nn.Linear:
    """Return one linear layer whose rows are those of several."""
    first = layers[0]
    has_bias, rows = first.bias is not None, sum(layer.out_features for layer in layers)
    out = nn.Linear(first.in_features, rows, bias=has_bias, device="meta")
    out.weight = nn.Parameter(torch.cat([layer.weight.detach() for layer in layers]), requires_grad=False)
    if has_bias:
        out.bias = nn.Parameter(torch.cat([layer.bias.detach() for layer in layers]), requires_grad=False)
    return out


def join_layers(model: nn.Module, replacement: Callable[[nn.Linear], nn.Module]) -> None:
    """Join the groups of layers below a module, in place; groups of mixed or of other layers stay as they are."""
    for module in list(model.modules()):
        for names in GROUPS:
            found = [getattr(module, name, None) for name in names]
            layers = [layer for layer in found if type(layer) is nn.Linear]
            if len(layers) == len(names) and len({alike(layer) for layer in layers}) == 1:
                shared = SharedProduct(layers, replacement)
                for index, name in enumerate(names):
                    setattr(module, name, SharedPart(shared, index))


def alike(layer: nn.Linear) -> tuple[object, ...]:
    """Return what layers must have in common to be joined."""
    return layer.in_features, layer.weight.dtype, layer.weight.device, layer.bias is None
