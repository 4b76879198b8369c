"""Quantise weights with bitsandbytes while they are loaded."""

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from transformers import BitsAndBytesConfig

QUANTISED_DTYPES = ("nf4", "int8")


def quantization_config(
    dtype: str, compute_dtype: torch.dtype = torch.bfloat16, nested: bool = True
) -> "BitsAndBytesConfig":
    """Return the configuration with which `from_pretrained` quantises the linear layers of a backbone.

    Args:
        dtype: "nf4" (4 bits, arXiv 2305.14314) or "int8" (arXiv 2208.07339).
        compute_dtype: data type in which products with nf4 weights are computed.
        nested: quantise the constants of nf4 too, which saves 0.4 bit per weight.

    Raises:
        ValueError: bitsandbytes is not installed.
    """
    from transformers import BitsAndBytesConfig
    from transformers.utils.import_utils import is_bitsandbytes_available

    if not is_bitsandbytes_available():
        raise ValueError("Quantised loading needs bitsandbytes; run pip install 'planned-diffusion[int4]'.")
    if dtype == "int8":
        return BitsAndBytesConfig(load_in_8bit=True)
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_compute_dtype=compute_dtype,
        bnb_4bit_use_double_quant=nested,
    )
