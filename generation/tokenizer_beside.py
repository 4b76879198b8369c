"""The tokenizer that lies beside a model's checkpoint, of the same revision; no foreign code is run."""

from transformers import AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase
from transformers.utils import logging

logger = logging.get_logger(__name__)


def tokenizer_beside(model: PreTrainedModel) -> PreTrainedTokenizerBase | None:
    """Return the tokenizer beside a model's checkpoint, or None.

    A model of this package remembers where its files lie (`files_of_checkpoint`: cache_dir, revision, subfolder).
    """
    if model.name_or_path:
        try:
            return AutoTokenizer.from_pretrained(
                model.name_or_path,
                config=model.config,
                local_files_only=True,
                trust_remote_code=False,
                **getattr(model, "files_of_checkpoint", {}),
            )
        except (OSError, ValueError):
            logger.info(f"No tokenizer beside {model.name_or_path}: topics stay token ids.")
    return None
