"""Replace the linear layers of a model by other modules, those of adapters aside."""

from collections.abc import Callable

from torch import nn

ADAPTERS = ("lora_A", "lora_B")  # PEFT's names of what stands beside a layer


def replace_linear_layers(model: nn.Module, replacement: Callable[[nn.Linear], nn.Module]) -> None:
    """Replace the linear layers below a module, in place; those of LoRA stay as they are."""
    for name, layer in list(model.named_children()):
        if type(layer) is nn.Linear:  # those of bitsandbytes are of a class of their own
            setattr(model, name, replacement(layer))
        elif name not in ADAPTERS:
            replace_linear_layers(layer, replacement)
