"""Which value a field of one call has: kwargs come before the given config, that before the checkpoint's."""

import copy
from typing import Any

from transformers import GenerationConfig
from transformers.utils import logging

from .config import PlannedDiffusionGenerationConfig
from .fields import FIELDS
from .neutral_values import IGNORED_ARGUMENTS

logger = logging.get_logger(__name__)

# Arguments of transformers' `generate` without meaning here: the model drafts for itself, and prompts are token ids.
FOREIGN_ARGUMENTS = (
    "assistant_model", "assistant_tokenizer", "prefix_allowed_tokens_fn", "negative_prompt_ids",
    "negative_prompt_attention_mask", "custom_generate", "inputs_embeds", "past_key_values", "cache",
)  # fmt: skip


def resolved(
    own: GenerationConfig, given: GenerationConfig | dict[str, Any] | None, kwargs: dict[str, Any]
) -> PlannedDiffusionGenerationConfig:
    """Put kwargs over `given` over the checkpoint's own fields. A field that `given` does not set is the checkpoint's.

    A plain GenerationConfig holds fields of this package as well, as attributes: trainers and pipelines build such.

    Raises:
        ValueError: an unknown field, a field that this decoding never reads, or a value out of range.
    """
    kwargs = {name: value for name, value in kwargs.items() if name not in IGNORED_ARGUMENTS}
    foreign = [name for name in FOREIGN_ARGUMENTS if kwargs.get(name) is not None]
    if foreign:
        raise ValueError(f"{', '.join(foreign)} has no meaning for planned diffusion; leave it out.")
    callers = {**_set_fields(given), **_set_fields(kwargs)}
    if "max_length" in callers and "max_new_tokens" not in callers:
        callers["max_new_tokens"] = None  # the checkpoint's would win
    fields = PlannedDiffusionGenerationConfig(**copy.deepcopy({**own.to_dict(), **callers}))
    if callers.get("use_cache") is False:
        logger.warning_once("use_cache=False changes nothing: the cache is always used, and the answer is the same.")
    fields.refuse_unread(kwargs)
    chosen, known = _ours(given), _ours(own)
    if "decoding" not in kwargs or "decoding" not in chosen:  # else they were chosen for another decoding
        # Copies of the checkpoint's config hold its fields: they are not the caller's choice.
        fields.refuse_unread(name for name, value in chosen.items() if name not in known or known[name] != value)
    return fields


def _set_fields(given: GenerationConfig | dict[str, Any] | None) -> dict[str, Any]:
    """Return the fields that the caller set. None means "not given" for transformers' fields, a value for ours."""
    if not isinstance(given, (GenerationConfig, dict, type(None))):
        raise ValueError(f"generation_config is a {type(given).__name__}; give a GenerationConfig.")
    fields = given.to_dict() if isinstance(given, GenerationConfig) else given or {}
    theirs = {name: value for name, value in fields.items() if value is not None and name not in FIELDS}
    return theirs | _ours(given)


def _ours(given: GenerationConfig | dict[str, Any] | None) -> dict[str, Any]:
    """Return the fields of this package that a config of either class, or a dict, sets."""
    fields = given.to_dict() if isinstance(given, GenerationConfig) else given or {}
    return {name: value for name, value in fields.items() if name in FIELDS}
