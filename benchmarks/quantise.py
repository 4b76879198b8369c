"""A model whose layers are nf4 or int8 (bitsandbytes), built layer by layer, so that the full weights never exist."""

import torch
from models import fill, load, model_on_meta, random_like
from torch import nn
from torch.nn import functional

PRECISIONS = ("bf16", "nf4", "nf4 dequantised", "int8")  # the third: in every forward, by a product in bf16


def model_of(shape: str, device: str, precision: str):
    """The model of a shape in one of PRECISIONS; embeddings, norms and head stay bfloat16, as transformers leaves them.

    Raises:
        RuntimeError: bitsandbytes is missing.
    """
    if precision == "bf16":
        return load(shape, device)
    try:
        import bitsandbytes
    except ImportError as error:
        raise RuntimeError(f"{precision} needs bitsandbytes; run pip install 'planned-diffusion[int4]'.") from error
    build = {"nf4": nf4, "nf4 dequantised": nf4_dequantised, "int8": int8}[precision]
    torch.manual_seed(0)
    model = load(shape, device) if shape == "embedded" else model_on_meta(shape, torch.bfloat16)
    for module in list(model.base_model.modules()):
        for name, layer in list(module.named_children()):
            if type(layer) is nn.Linear:
                setattr(module, name, build(bitsandbytes.nn, layer, device))
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


def _weight(layer: nn.Linear, device: str) -> torch.Tensor:
    """On the CPU, since moving to the device is what quantises."""
    weight = random_like(layer.weight, device) if layer.weight.is_meta else layer.weight.data
    return weight.cpu()


def _with_bias(quantised: nn.Module, layer: nn.Linear, device: str) -> nn.Module:
    if layer.bias is not None:
        bias = random_like(layer.bias, "cpu").zero_() if layer.bias.is_meta else layer.bias.data.cpu()
        quantised.bias = nn.Parameter(bias, requires_grad=False)
    return quantised.to(device).eval()
