"""`planned-diffusion convert`: make a planned-diffusion checkpoint from another model's checkpoint.

The backbone's parameters keep their names (modeling_planned_diffusion.py), so weights are copied as they are; only
embedding and head change, where control tokens are added. A published planned-diffusion checkpoint has them already and
gets the configuration that names them. The body of `convert` follows this outline:
    1. source         a folder, or a repository's small files
    2. configuration  the backbone's (source_config.py)
    3. tokenizer      every control token, old or new (source_tokenizer.py)
    4. weights        names, shapes and dtypes checked against the resulting model before anything is written
    5. write          into a folder beside OUT, weights as a stream (checkpoint_folder.py), then renamed
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError

from ...configuration_planned_diffusion import PlannedDiffusionConfig
from ...generation.tokens import ControlTokens
from ...loading.locate import locate
from ...modeling_planned_diffusion import PlannedDiffusionForCausalLM
from ...records.checks import first_line
from .checkpoint_folder import LICENCES, Contents, Progress, write_checkpoint
from .conversion_report import Converted, first_card, ids_by_spelling, notes_on
from .source_config import ForeignConfig, read_config
from .source_tokenizer import Vocabulary, load_tokenizer, with_control_tokens
from .weight_files import DTYPES
from .weight_rows import EMBEDDING, plan_weights

PUBLISHED_UNIT = 10
PUBLISHED_SEPARATOR = " "  # the published code joins spans with it when it removes their tags
SMALL_FILES = ["*.json", "*.txt", "*.jinja", "*.model", "README.md", *LICENCES]


@dataclass(frozen=True)
class ChosenFields:
    """Fields of the new configuration that a user chooses; None leaves the default.

    Attributes:
        tokens_per_length_unit: tokens that a promised number of 1 stands for; 10 by default.
        span_attention: "sparse" or "dense"; by default that of a published checkpoint's training, else sparse.
        span_separator: text between spans; by default a space for published checkpoints, else nothing.
    """

    tokens_per_length_unit: int | None = None
    span_attention: str | None = None
    span_separator: str | None = None


def convert(
    source: str | Path,
    out: str | Path,
    chosen: ChosenFields | None = None,
    revision: str | None = None,
    progress: Progress = lambda done, total: None,
) -> Converted:
    """Convert a checkpoint; the memory in use does not depend on the checkpoint's size.

    Args:
        source: folder or Hub repository of Llama, SmolLM, Qwen2, Qwen2.5, Qwen3, Dream, or published planned diffusion.
        out: folder that does not exist or is empty.
        chosen: fields of the configuration with other values than the defaults.
        revision: branch, tag or commit of a Hub repository.
        progress: called with the bytes written and the bytes in all.

    Raises:
        ValueError: a source that cannot be converted, or an `out` that cannot be written; nothing is left behind.
    """
    # 1. Source
    out = Path(out).expanduser().absolute()
    check_destination(out)
    folder, fetch_weights = open_source(source, revision)
    # 2. Configuration
    foreign = read_config(folder)
    # 3. Tokenizer
    vocabulary = with_control_tokens(load_tokenizer(folder, foreign.is_dream), foreign.mask_token_id)
    config = build_config(foreign, vocabulary, chosen or ChosenFields())
    # 4. Weights
    fetch_weights()
    stored, rows = plan_weights(folder, foreign.backbone, vocabulary)
    rows_before = config.vocab_size
    config.vocab_size = rows[EMBEDDING].count if rows else rows_before
    ControlTokens.from_config(config)  # checks that the ids differ and are inside the vocabulary
    config.dtype = config.get_text_config().dtype = config.dtype or DTYPES[stored[EMBEDDING].dtype]
    # 5. Write
    notes = notes_on(foreign, vocabulary)
    readme = first_card(folder, str(source), not Path(source).expanduser().is_dir(), notes)
    contents = Contents(folder, config, vocabulary, stored, rows, readme)
    write_checkpoint(contents, out, progress)
    return Converted(
        source=str(source),
        out=str(out),
        model_type=foreign.model_type,
        tokens=ids_by_spelling(vocabulary),
        added=cast(list[str], vocabulary.tokenizer.convert_ids_to_tokens(list(vocabulary.added))),
        rows=(rows_before, config.vocab_size),
        rows_set=len(rows[EMBEDDING].set_to) if rows else 0,
        tokens_per_length_unit=config.tokens_per_length_unit,
        span_attention=config.span_attention,
        span_separator=config.span_separator,
        chat_template=vocabulary.chat_template,
        dtypes=sorted({tensor.dtype for tensor in stored.values()}),
        shards=len({tensor.file for tensor in stored.values()}),
        gigabytes=sum(path.stat().st_size for path in out.glob("*.safetensors")) / 1e9,
        notes=notes,
    )


# 1. Source


def check_destination(out: Path) -> None:
    """Raise ValueError for a file, or a folder that is not empty."""
    if out.exists() and not out.is_dir():
        raise ValueError(f"{out} is a file; name a folder to convert into.")
    if out.is_dir() and any(out.iterdir()):
        raise ValueError(f"The folder {out} is not empty; name a new one.")


def open_source(source: str | Path, revision: str | None) -> tuple[Path, Callable[[], object]]:
    """Return the folder with a checkpoint's small files, and a function that downloads its weights into it.

    Raises:
        ValueError: neither a folder nor a repository that can be downloaded.
    """
    name = locate(source)
    if Path(name).is_dir():
        return Path(name), lambda: None

    def download(patterns: list[str]) -> str:
        try:
            return snapshot_download(name, revision=revision, allow_patterns=patterns)
        except (HfHubHTTPError, HFValidationError, OSError) as error:
            reason = first_line(error)
            raise ValueError(f"{name} cannot be fetched: {reason}; check name, token and network.") from error

    return Path(download(SMALL_FILES)), lambda: download(["*.safetensors"])


# 2. Configuration


def build_config(foreign: ForeignConfig, vocabulary: Vocabulary, chosen: ChosenFields) -> PlannedDiffusionConfig:
    """Return the converted checkpoint's configuration, with the vocabulary size of the source."""
    unit, separator = chosen.tokens_per_length_unit, chosen.span_separator
    if separator is None:
        is_published = foreign.is_dream and vocabulary.has_all_tags
        separator = PUBLISHED_SEPARATOR if is_published else ""
    foreign.backbone.eos_token_id = vocabulary.eos_token_id
    return PlannedDiffusionConfig(
        backbone_config=foreign.backbone,
        tokens_per_length_unit=PUBLISHED_UNIT if unit is None else unit,
        span_attention=chosen.span_attention or foreign.span_attention,
        span_separator=separator,
        architectures=[PlannedDiffusionForCausalLM.__name__],
        dtype=foreign.backbone.dtype,
        **cast(dict[str, Any], vocabulary.ids),
    )
