"""Round a model to 8 bits after it was loaded, for a CPU: its weights alone (w8a16), or activations, too (w8a8)."""

import warnings
from typing import cast

import torch
from torch import nn
from transformers import PreTrainedModel

from .int8_products import W8A8, Int8ProductLinear, multiplies_exactly
from .int8_weights import W8A16, Int8Linear
from .linear_layers import replace_linear_layers
from .shared_inputs import join_layers

EIGHT_BITS = (W8A16, W8A8)  # names among data types


def check_eight_bits(dtype: str, device: torch.device | str) -> None:
    """Reject a device on which 8 bits are slower, or products of 8-bit numbers not exact.

    Raises:
        ValueError: no CPU, or one that does not multiply 8-bit numbers.
    """
    if torch.device(device).type != "cpu":
        raise ValueError(f"{dtype} is faster on a CPU only, and the device is {device}; give int8, nf4 or bfloat16.")
    if dtype == W8A8 and not multiplies_exactly():
        raise ValueError(f"{W8A8} needs a CPU that multiplies 8-bit numbers (VNNI or AMX); give {W8A16} or bfloat16.")


def round_model(model: PreTrainedModel, dtype: str) -> None:
    """Round a model's backbone and head, in place.

    Args:
        dtype: one of EIGHT_BITS.
    """
    head = cast(nn.Linear, model.get_output_embeddings())
    if dtype == W8A8:
        # Said by torch's compiler of its own handling of such products.
        warnings.filterwarnings("ignore", "To copy construct from a tensor", UserWarning, "torch._inductor")
        join_layers(model.base_model, Int8ProductLinear)
        replace_linear_layers(model.base_model, Int8ProductLinear)
        model.set_output_embeddings(Int8ProductLinear(head))
    else:
        replace_linear_layers(model.base_model, Int8Linear)
        model.set_output_embeddings(Int8Linear(head, keep=True))
