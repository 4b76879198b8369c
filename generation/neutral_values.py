"""Fields of transformers without meaning here, and the values at which they change nothing: those may be given.

Trainers, pipelines and servers build whole configs, in which every field stands with some value.
"""

from typing import Any

# Arguments of `generate` itself, which stand in configs as well; whatever they say, the answer is the same.
IGNORED_ARGUMENTS = ("synced_gpus", "use_model_defaults", "token_type_ids", "trust_remote_code")

# Fields that refine another one, which is refused (beams, an assistant, prompt lookup, contrastive search), or that
# decide where and in which pieces something is computed.
IDLE_FIELDS = (
    "early_stopping", "length_penalty", "low_memory", "renormalize_logits", "max_matching_ngram_size",
    "num_assistant_tokens", "num_assistant_tokens_schedule", "assistant_confidence_threshold", "assistant_lookbehind",
    "target_lookbehind", "assistant_ensemble_weight", "decoder_start_token_id", "cache_config", "max_cache_len",
    "prefill_chunk_size", "continuous_batching_config",
)  # fmt: skip

# Values at which a field is off, beside None, False and empty lists, which switch every field off.
NEUTRAL_VALUES: dict[str, Any] = {
    "num_beams": 1,
    "num_beam_groups": 1,
    "diversity_penalty": 0,
    "penalty_alpha": 0,
    "guidance_scale": 1,
    "repetition_penalty": 1,
    "encoder_repetition_penalty": 1,
    "no_repeat_ngram_size": 0,
    "encoder_no_repeat_ngram_size": 0,
    "min_length": 0,
    "min_new_tokens": 0,
    "min_p": 0,
    "typical_p": 1,
    "epsilon_cutoff": 0,
    "eta_cutoff": 0,
    "prompt_lookup_num_tokens": 0,
    "cache_implementation": "dynamic",
}


def is_neutral(name: str, value: Any) -> bool:
    """Return whether a field without meaning here has a value that changes nothing."""
    if name in IGNORED_ARGUMENTS or name in IDLE_FIELDS or value is None or value is False:
        return True
    if isinstance(value, (list, tuple, dict)):
        return not value
    is_plain = isinstance(value, (int, float, str)) and value is not True
    return is_plain and name in NEUTRAL_VALUES and value == NEUTRAL_VALUES[name]
