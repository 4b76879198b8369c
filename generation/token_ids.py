"""Token ids as callers and configurations give them."""

from collections.abc import Sequence
from typing import Any

import torch
from transformers import GenerationConfig


def checked_input_ids(input_ids: Any) -> torch.Tensor:
    """Return prompts [B, N] as they were given.

    Raises:
        ValueError: something else than a matrix of whole numbers.
    """
    if not isinstance(input_ids, torch.Tensor) or input_ids.dim() != 2:
        got = "is no tensor"
        if isinstance(input_ids, torch.Tensor):
            got = f"has shape {list(input_ids.shape)}"
        elif input_ids is None:
            got = "is missing"
        raise ValueError(f"input_ids {got}; give token ids of shape [prompts, tokens].")
    if input_ids.dtype.is_floating_point:
        raise ValueError(f"input_ids are {input_ids.dtype}; give whole numbers, the ids of a tokenizer.")
    if 0 in input_ids.shape:
        raise ValueError(f"input_ids of shape {list(input_ids.shape)} hold no prompt; give at least one token.")
    return input_ids


def as_ids(given: int | Sequence[int] | None) -> tuple[int, ...]:
    """Return token ids as configurations give them, nothing, one or several, as a tuple."""
    if given is None:
        return ()
    return (given,) if isinstance(given, int) else tuple(given)


def pad_id(generation_config: GenerationConfig, eos: tuple[int, ...]) -> int:
    """Return the token that fills rows behind their end: the pad token, else the first EOS, else 0."""
    return next(iter((*as_ids(generation_config.pad_token_id), *eos)), 0)
