"""Forget how a tokenizer was found: transformers notes it among its settings, and would save it with them."""

from transformers import PreTrainedTokenizerBase

ORIGIN = ("is_local", "local_files_only")  # settings that concern the machine on which a tokenizer was loaded


def without_origin(tokenizer: PreTrainedTokenizerBase) -> PreTrainedTokenizerBase:
    """Return the tokenizer itself, whose saved files say nothing of the machine that loaded it."""
    for name in ORIGIN:
        tokenizer.init_kwargs.pop(name, None)
    return tokenizer
