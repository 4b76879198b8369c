"""The quantisation of the weights below an adapter: stored in the checkpoint, or made while it is loaded (QLoRA)."""

from collections.abc import Mapping
from typing import Any

import torch
from transformers import BitsAndBytesConfig

from ..loading.quantise import quantization_config
from ..loading.stored_quantisation import BITSANDBYTES, quantisation_named
from ..records.checks import first_line
from .adapters import AdapterArguments


def check_quantisation(
    model: str, stored: str | None, adapter: AdapterArguments, given: Mapping[str, Any] | None
) -> str | None:
    """Return the quantisation in which the weights of a run are frozen, by name; None where they are ordinary numbers.

    Args:
        model: the checkpoint.
        stored: the quantisation in which it is stored.
        adapter: says in which it shall be loaded.
        given: a `quantization_config` that says so instead.

    Raises:
        ValueError: quantised weights that would have to train themselves, a quantisation that cannot be trained on, or
            two different ones.
    """
    asked = _asked(adapter, given)
    if stored is not None and asked is not None and asked != stored:
        raise ValueError(
            f"{model} is stored quantised as {stored}, which loading does not turn into {asked}; leave load_in_4bit, "
            "load_in_8bit and quantization_config out to train an adapter on it as it is, or give model the checkpoint "
            "from which it was quantised."
        )
    name = stored or asked
    if name is None:
        return None
    where = f"{model} is stored quantised as {stored}" if stored else f"quantization_config asks for {asked}"
    if name not in BITSANDBYTES:
        raise ValueError(
            f"{where}, on which no adapter can be trained here (on {', '.join(BITSANDBYTES)} of bitsandbytes one can); "
            "train from the checkpoint from which it was quantised, with load_in_4bit: true to save memory."
        )
    if not adapter.use_peft:
        raise ValueError(
            f"{where}, and quantised weights cannot be trained themselves; add use_peft: true (QLoRA), or train from "
            "the checkpoint from which it was quantised."
        )
    return name


def _asked(adapter: AdapterArguments, given: Mapping[str, Any] | None) -> str | None:
    """Return the quantisation in which the run asks to load weights."""
    if adapter.is_quantised:
        return "int8" if adapter.load_in_8bit else "nf4"
    return None if given is None else quantisation_named(given)


def quantised_while_loading(
    adapter: AdapterArguments, given: Mapping[str, Any] | None, compute_dtype: torch.dtype
) -> BitsAndBytesConfig | None:
    """Return how the frozen weights are quantised while they are loaded; None if they are not.

    Raises:
        ValueError: a value in `given` that bitsandbytes cannot use.
    """
    if adapter.is_quantised:
        dtype = "int8" if adapter.load_in_8bit else "nf4"
        return quantization_config(dtype, compute_dtype, nested=adapter.use_bnb_nested_quant)
    if given is None:
        return None
    try:
        return BitsAndBytesConfig(**given)
    except TypeError as error:
        raise ValueError(
            f"model_init_kwargs has a quantization_config that bitsandbytes cannot use: {first_line(error)}; correct "
            "it, or leave it out and set load_in_4bit."
        ) from error
