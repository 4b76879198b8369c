"""Read the generation_config.json of a checkpoint: none is fine, a broken one is not."""

from typing import Any, cast

from transformers.utils import logging
from transformers.utils.hub import cached_file

from .config import PlannedDiffusionGenerationConfig

logger = logging.get_logger(__name__)
FILE = "generation_config.json"
PLACES = ("cache_dir", "force_download", "proxies", "local_files_only", "token", "revision", "subfolder")


def stored_defaults(source: str, **options: Any) -> PlannedDiffusionGenerationConfig | None:
    """Return the generation config of a checkpoint; None where it has none.

    Args:
        source: folder or Hub repository.
        options: as `GenerationConfig.from_pretrained` takes them.

    Raises:
        ValueError: a file that is no JSON object, or holds fields or values that cannot be used.
    """
    try:
        return cast(
            PlannedDiffusionGenerationConfig, PlannedDiffusionGenerationConfig.from_pretrained(source, **options)
        )
    except OSError as error:
        places = {name: options[name] for name in PLACES if options.get(name) is not None}
        try:
            found = cached_file(source, FILE, **places)
        except OSError:
            found = None
        if found is None:
            logger.info(f"No {FILE}: the defaults of {PlannedDiffusionGenerationConfig.__name__} are used.")
            return None
        raise ValueError(f"{found} is not JSON; save the checkpoint again, or download it again.") from error
    except (AttributeError, TypeError) as error:
        raise ValueError(f"The {FILE} of {source} holds no JSON object; save the checkpoint again.") from error
