"""A model whose layers are quantised by bitsandbytes or torchao, built layer by layer: the full weights never exist."""

from collections.abc import Callable
from importlib import import_module

import torch
from models import fill, load, model_on_meta, random_like
from torch import nn
from torch.nn import functional

INT4_GROUP = 64  # weights that share a scale


def model_of(shape: str, device: str, precision: str):
    """The model of a shape in one of PRECISIONS; embeddings, norms and head stay bfloat16, as in transformers.

    Raises:
        RuntimeError: the library is missing, or cannot do that on this device.
    """
    if precision == "bf16":
        return load(shape, device)
    module, build = BUILDERS[precision]
    package = module.split(".")[0]
    try:
        library = import_module(module)
    except ImportError as error:
        raise RuntimeError(f"{precision} needs {package}; run pip install {package}.") from error
    torch.manual_seed(0)
    model = load(shape, device) if shape == "embedded" else model_on_meta(shape, torch.bfloat16)
    for parent in list(model.base_model.modules()):
        for name, layer in list(parent.named_children()):
            if type(layer) is nn.Linear:
                setattr(parent, name, build(library, layer, device))
    return model if shape == "embedded" else fill(model, device)


def nf4(library, layer: nn.Linear, device: str) -> nn.Module:
    quantised = library.Linear4bit(
        layer.in_features, layer.out_features, bias=layer.bias is not None, compute_dtype=torch.bfloat16,
        quant_type="nf4", device="meta",
    )  # fmt: skip
    quantised.weight = library.Params4bit(_weight(layer, device), requires_grad=False, quant_type="nf4")
    return _with_bias(quantised, layer, device)


class DequantisedLinear(nn.Linear):
    """An nf4 matrix that becomes bfloat16 in every forward: more to move, but the fast product for many tokens."""

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        from bitsandbytes.functional import dequantize_4bit

        weight = dequantize_4bit(self.weight.data, self.weight.quant_state)
        return functional.linear(states, weight.to(states.dtype), self.bias)


def nf4_dequantised(library, layer: nn.Linear, device: str) -> nn.Module:
    quantised = DequantisedLinear(layer.in_features, layer.out_features, bias=layer.bias is not None, device="meta")
    quantised.weight = library.Params4bit(_weight(layer, device), requires_grad=False, quant_type="nf4")
    return _with_bias(quantised, layer, device)


def int8(library, layer: nn.Linear, device: str) -> nn.Module:
    quantised = library.Linear8bitLt(
        layer.in_features, layer.out_features, bias=layer.bias is not None, has_fp16_weights=False, device="meta"
    )
    quantised.weight = library.Int8Params(_weight(layer, device), requires_grad=False, has_fp16_weights=False)
    return _with_bias(quantised, layer, device)


def by_torchao(config_of: Callable) -> Callable:
    """Quantises a layer as torchao's `quantize_` does, and transformers' `TorchAoConfig` with the same config."""

    def build(library, layer: nn.Linear, device: str) -> nn.Module:
        quantised = nn.Linear(layer.in_features, layer.out_features, bias=layer.bias is not None, device="meta")
        quantised.weight = nn.Parameter(_weight(layer, device).to(device), requires_grad=False)
        quantised = _with_bias(quantised, layer, device)
        library.quantize_(quantised, config_of(library, device))
        return quantised

    return build


def torchao_int8(library, device: str):
    return library.Int8WeightOnlyConfig()


def torchao_int8_activations(library, device: str):
    return library.Int8DynamicActivationInt8WeightConfig()


def torchao_int4(library, device: str):
    if device == "cpu":
        raise RuntimeError("torchao's int4 runs on GPUs only.")
    return library.Int4WeightOnlyConfig(group_size=INT4_GROUP, int4_packing_format="tile_packed_to_4d")


# Precision -> its library, and the function that makes one layer of it.
BUILDERS = {
    "nf4": ("bitsandbytes.nn", nf4),
    "nf4 dequantised": ("bitsandbytes.nn", nf4_dequantised),  # in every forward, by a product in bf16
    "int8": ("bitsandbytes.nn", int8),
    "int4 torchao": ("torchao.quantization", by_torchao(torchao_int4)),
    "int8 torchao": ("torchao.quantization", by_torchao(torchao_int8)),
    "int8 torchao, activations too": ("torchao.quantization", by_torchao(torchao_int8_activations)),
}
PRECISIONS = ("bf16", *BUILDERS)


def _weight(layer: nn.Linear, device: str) -> torch.Tensor:
    """Return the weight on the CPU; moving it to the device quantises it."""
    weight = random_like(layer.weight, device) if layer.weight.is_meta else layer.weight.data
    return weight.cpu()


def _with_bias(quantised: nn.Module, layer: nn.Linear, device: str) -> nn.Module:
    if layer.bias is not None:
        bias = random_like(layer.bias, "cpu").zero_() if layer.bias.is_meta else layer.bias.data.cpu()
        quantised.bias = nn.Parameter(bias, requires_grad=False)
    return quantised.to(device).eval()
