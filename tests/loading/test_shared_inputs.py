"""Joined layers: the products of single ones, computed once, whatever the order in which they are asked."""

import pytest
import torch
from torch import nn

from planned_diffusion.loading.shared_inputs import SharedPart, SharedProduct, join_layers


class Counting(nn.Module):
    """A plain linear layer that counts how often it is asked."""

    def __init__(self, layer: nn.Linear) -> None:
        super().__init__()
        self.layer, self.asked = layer, 0

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        self.asked += 1
        return self.layer(states)


def layers_of(*outs: int, bias: bool = False) -> list[nn.Linear]:
    torch.manual_seed(0)
    return [nn.Linear(6, out, bias=bias) for out in outs]


@pytest.mark.parametrize("bias", [True, False])
def test_three_layers_are_one_product(bias):
    layers, states = layers_of(4, 2, 3, bias=bias), torch.randn(1, 5, 6)
    shared = SharedProduct(layers, Counting)
    for number, layer in enumerate(layers):
        assert torch.allclose(SharedPart(shared, number)(states), layer(states), atol=1e-6)
    assert shared.product.asked == 1 and shared._held is None


def test_other_states_are_computed_anew():
    layers, (first, second) = layers_of(4, 2), torch.randn(2, 5, 6)
    shared = SharedProduct(layers, Counting)
    parts = [SharedPart(shared, number) for number in range(2)]
    asked = [(0, first), (1, second), (1, first), (0, first), (0, second), (1, second), (1, second)]
    for number, states in asked:
        assert torch.allclose(parts[number](states), layers[number](states), atol=1e-6)
    assert shared.product.asked == 6


def test_states_written_in_place_between_layers_of_a_forward_and_the_next():
    """The last layer lets go what is held, so a buffer that is filled anew is read anew."""
    layers, states = layers_of(4, 2), torch.randn(5, 6)
    shared = SharedProduct(layers, Counting)
    for _ in range(2):
        states.mul_(2)
        for number, layer in enumerate(layers):
            assert torch.allclose(SharedPart(shared, number)(states), layer(states), atol=1e-6)


def test_a_model_keeps_its_logits_and_parameters(build_model):
    model, ids = build_model(), torch.tensor([[3, 5, 7, 9]])
    with torch.no_grad():
        expected = model(input_ids=ids).logits
        join_layers(model.model, lambda layer: layer)
        assert torch.allclose(model(input_ids=ids).logits, expected, atol=1e-5)
    joined = [name for name, module in model.named_modules() if isinstance(module, SharedProduct)]
    assert len(joined) == 2 * len(model.model.layers)
    assert len(list(model.parameters())) == len({id(one) for one in model.parameters()})


def test_layers_that_differ_stay_as_they_are():
    class Attention(nn.Module):
        def __init__(self, *layers: nn.Module) -> None:
            super().__init__()
            self.q_proj, self.k_proj, self.v_proj = layers

    plain, biased = layers_of(4, 2), layers_of(2, bias=True)
    for layers in ([*plain, *biased], [*plain, nn.Identity()], [*plain, nn.Linear(5, 2, bias=False)]):
        model = Attention(*layers)
        join_layers(model, Counting)
        assert [model.q_proj, model.k_proj, model.v_proj] == layers
