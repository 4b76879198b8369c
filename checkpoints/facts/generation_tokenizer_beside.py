"""The tokenizer that lies beside a model's checkpoint."""

from transformers import AutoTokenizer
from transformers.utils import logging

logger = logging.get_logger(__name__)


def tokenizer_beside(model):
    """The tokenizer that lies beside a model's checkpoint, of the same revision, or None; no foreign code is run."""
    if model.name_or_path:
        try:
            return AutoTokenizer.from_pretrained(
                model.name_or_path,
                config=model.config,
                local_files_only=True,
                trust_remote_code=False,
                **getattr(model, "_place_of_files", {}),
            )
        except (OSError, ValueError):
            logger.info(f"No tokenizer beside {model.name_or_path}: topics stay token ids.")
    return None
