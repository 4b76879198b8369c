"""The ids that a tokenizer gives the control tokens, and whether a model's configuration agrees with them."""

from typing import TYPE_CHECKING

from ..generation.tokens import SPELLING

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedTokenizerBase


def control_token_ids(tokenizer: "PreTrainedTokenizerBase") -> dict[str, int | list[int]]:
    """Return the id fields of `PlannedDiffusionConfig` as this tokenizer has them.

    Raises:
        ValueError: a tag or digit that is not exactly one token, or no mask or EOS token.
    """
    ids = {field: _one_token(tokenizer, spelling) for field, spelling in SPELLING.items()}
    for name in ("mask_token", "eos_token"):
        if getattr(tokenizer, f"{name}_id") is None:
            raise ValueError(f"The tokenizer has no {name}; set it (tokenizer.add_special_tokens({{'{name}': ...}})).")
        ids[f"{name}_id"] = getattr(tokenizer, f"{name}_id")
    return {**ids, "digit_token_ids": [_one_token(tokenizer, digit) for digit in "0123456789"]}


def _one_token(tokenizer: "PreTrainedTokenizerBase", spelling: str) -> int:
    """Return the id of a spelling that must be a single token."""
    ids = tokenizer(spelling, add_special_tokens=False)["input_ids"]
    if len(ids) != 1:
        raise ValueError(
            f"The tokenizer splits {spelling!r} into {len(ids)} tokens {ids}; add it as one token and resize the "
            "model's embeddings (the published spellings are in generation/tokens.py)."
        )
    return ids[0]


def check_agreement(tokenizer: "PreTrainedTokenizerBase", config: "PreTrainedConfig") -> None:
    """Check that a checkpoint's configuration has the tokenizer's ids and room for all its tokens.

    Raises:
        ValueError: an id differs or is missing in the configuration, or the tokenizer has more tokens than the model.
    """
    found = control_token_ids(tokenizer)
    differing = {
        field: (getattr(config, field, None), value)
        for field, value in found.items()
        if getattr(config, field, None) != value
    }
    if differing:
        listed = "; ".join(
            f"{field}: config {of_config}, tokenizer {value}" for field, (of_config, value) in differing.items()
        )
        raise ValueError(f"Config and tokenizer disagree ({listed}); give the checkpoint's own tokenizer.")
    if len(tokenizer) > config.vocab_size:
        raise ValueError(
            f"The tokenizer has {len(tokenizer)} tokens and the model {config.vocab_size} rows; resize the model's "
            "embeddings."
        )
