"""Which value a field of one call has: kwargs come before the given config, that before the checkpoint's."""

import copy
from typing import Any

from transformers import GenerationConfig

from .config import PlannedDiffusionGenerationConfig
from .fields import FIELDS

# Arguments of transformers' `generate` without meaning here: the model drafts for itself, and prompts are token ids.
FOREIGN_ARGUMENTS = (
    "assistant_model", "assistant_tokenizer", "prefix_allowed_tokens_fn", "negative_prompt_ids",
    "negative_prompt_attention_mask", "custom_generate", "inputs_embeds", "past_key_values",
)  # fmt: skip
IGNORED_ARGUMENTS = ("synced_gpus", "use_model_defaults", "token_type_ids", "trust_remote_code", "disable_compile")


def resolved(
    own: PlannedDiffusionGenerationConfig, given: GenerationConfig | dict[str, Any] | None, kwargs: dict[str, Any]
) -> PlannedDiffusionGenerationConfig:
    """Put kwargs over `given` over the checkpoint's own fields. A field that `given` does not set is the checkpoint's.

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
    fields.refuse_unread(kwargs)
    chosen = getattr(given, "set_fields", {})
    if "decoding" in chosen and "decoding" not in kwargs:  # else it was chosen for another decoding
        known = own.set_fields
        fields.refuse_unread(name for name, value in chosen.items() if name not in known or known[name] != value)
    return fields


def _set_fields(given: GenerationConfig | dict[str, Any] | None) -> dict[str, Any]:
    """Return the fields that the caller set. None means "not given" for transformers' fields, a value for ours."""
    if given is None or isinstance(given, dict):
        fields, ours = given or {}, given or {}
    elif isinstance(given, GenerationConfig):
        fields, ours = given.to_dict(), getattr(given, "set_fields", {})
    else:
        raise ValueError(f"generation_config is a {type(given).__name__}; give a GenerationConfig.")
    theirs = {name: value for name, value in fields.items() if value is not None and name not in FIELDS}
    return theirs | {name: value for name, value in ours.items() if name in FIELDS}
