"""Tell in which quantisation the weights of a checkpoint are stored, from its configuration alone.

A quantisation of bitsandbytes is named int8, nf4 or fp4, another as transformers names its method (gptq, awq, torchao,
fp8, ...).
"""

from collections.abc import Mapping
from typing import Any

BITSANDBYTES = ("int8", "nf4", "fp4")
UNNAMED = "an unnamed method"


def stored_quantisation(config: Mapping[str, Any]) -> str | None:
    """Return the name of the quantisation in which weights are stored; None where they are ordinary numbers.

    Args:
        config: the contents of config.json, with the backbone's part in `backbone_config`.
    """
    backbone = config.get("backbone_config")
    stored = config.get("quantization_config")
    if not stored and isinstance(backbone, Mapping):
        stored = backbone.get("quantization_config")
    return quantisation_named(stored) if stored else None


def quantisation_named(settings: object) -> str:
    """Return the name of the quantisation that a `quantization_config` describes."""
    if not isinstance(settings, Mapping):
        return UNNAMED
    if settings.get("load_in_8bit") or settings.get("_load_in_8bit"):
        return "int8"
    if settings.get("load_in_4bit") or settings.get("_load_in_4bit"):
        return str(settings.get("bnb_4bit_quant_type", "fp4"))
    method = settings.get("quant_method") or UNNAMED
    return str(getattr(method, "value", method))


def check_dtype(source: str, stored: str | None, dtype: str) -> None:
    """Reject a data type that loading cannot give to weights that are stored quantised.

    Raises:
        ValueError: any but "auto" and the stored one.
    """
    if stored is not None and dtype not in ("auto", stored):
        raise ValueError(
            f"{source} is stored quantised as {stored}, which loading does not turn into {dtype}; leave the dtype out "
            "(auto), or take the checkpoint from which it was quantised."
        )


def check_known(source: str, config: Mapping[str, Any]) -> None:
    """Reject a quantisation that transformers does not know: it would load the stored numbers as if they were weights.

    Raises:
        ValueError: an unknown method, or none named.
    """
    from transformers.quantizers.auto import AUTO_QUANTIZER_MAPPING

    stored = stored_quantisation(config)
    if stored is not None and stored not in BITSANDBYTES and stored not in AUTO_QUANTIZER_MAPPING:
        raise ValueError(
            f"{source} is stored quantised by {stored}, which this version of transformers does not know; take the "
            "checkpoint from which it was quantised, or upgrade transformers."
        )


def check_unquantised(source: str, base: str | None, config: Mapping[str, Any]) -> None:
    """Reject a checkpoint that is stored quantised where its weights are to be merged or written anew.

    Args:
        source: the checkpoint, or an adapter.
        base: the checkpoint that the adapter was trained on; None for a whole checkpoint.
        config: the contents of config.json, of the base where there is one.

    Raises:
        ValueError: quantised weights.
    """
    stored = stored_quantisation(config)
    if stored is None:
        return
    if base is None:
        raise ValueError(
            f"{source} is stored quantised as {stored}, and quantised weights are not written again; export the "
            "checkpoint from which it was quantised."
        )
    raise ValueError(
        f"The base of the adapter {source}, {base}, is stored quantised as {stored}, and adapters are not merged into "
        "quantised weights; set base_model_name_or_path in adapter_config.json to the checkpoint from which it was "
        "quantised, or push the adapter as it is."
    )
