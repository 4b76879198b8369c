"""`planned-diffusion convert`: make a planned-diffusion checkpoint from another model's checkpoint.

The backbone's parameters keep their names (modeling_planned_diffusion.py), so weights are copied as they are; only
embedding and head change, where control tokens are added. A published planned-diffusion checkpoint has them already and
gets the configuration that names them. The body of `convert` follows this outline:
    1. source         a folder, a repository's small files, or a GGUF file, unpacked (gguf_folder.py)
    2. configuration  the backbone's (source_config.py)
    3. tokenizer      every control token, old or new (source_tokenizer.py); defaults (source_defaults.py)
    4. weights        names, shapes and dtypes checked against the resulting model before anything is written
    5. write          into a folder beside OUT, weights as a stream (checkpoint_folder.py), then renamed
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
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
from .gguf_file import ENDING, find_gguf
from .gguf_folder import unpacked
from .source_config import ForeignConfig, read_config
from .source_defaults import complete_tokenizer, converted_defaults, notes_on_defaults, read_defaults
from .source_tokenizer import Vocabulary, load_tokenizer, with_control_tokens
from .weight_files import DTYPES
from .weight_rows import EMBEDDING, plan_weights

PUBLISHED_UNIT = 10
PUBLISHED_SEPARATOR = " "  # the published code joins spans with it when it removes their tags
TEXTS = ["README.md", *LICENCES]
SMALL_FILES = ["*.json", "*.txt", "*.jinja", "*.model", *TEXTS]


@dataclass(frozen=True)
class ChosenFields:
    """Fields of the new configuration that a user chooses; None leaves the default.

    Attributes:
        tokens_per_length_unit: tokens that a promised number of 1 stands for; 10 by default.
        span_attention: "sparse" or "dense"; by default that of a published checkpoint's training, else sparse.
        span_separator: text between spans; by default a space for published checkpoints, else nothing.
        repeat_promises: every span begins with its promise again.
    """

    tokens_per_length_unit: int | None = None
    span_attention: str | None = None
    span_separator: str | None = None
    repeat_promises: bool = False


def convert(
    source: str | Path,
    out: str | Path,
    chosen: ChosenFields | None = None,
    revision: str | None = None,
    gguf_file: str | None = None,
    progress: Progress = lambda done, total: None,
) -> Converted:
    """Convert a checkpoint; the memory in use does not depend on the checkpoint's size.

    Args:
        source: folder or Hub repository of Llama, SmolLM, Qwen2, Qwen2.5, Qwen3, Dream, or published planned diffusion;
            or a GGUF file of one of the first five, or a folder that holds one.
        out: folder that does not exist or is empty.
        chosen: fields of the configuration with other values than the defaults.
        revision: branch, tag or commit of a Hub repository.
        gguf_file: name of a GGUF file in the folder or repository, to convert that one.
        progress: called with the bytes written and the bytes in all.

    Raises:
        ValueError: a source that cannot be converted, or an `out` that cannot be written; nothing is left behind.
    """
    # 1. Source
    out = Path(out).expanduser().absolute()
    check_destination(out)
    with open_source(source, out, revision, gguf_file, progress) as opened:
        # 2. Configuration
        folder = opened.folder
        foreign = read_config(folder)
        # 3. Tokenizer
        source_defaults, tokenizer = read_defaults(folder), load_tokenizer(folder, foreign.is_dream)
        complete_tokenizer(tokenizer, source_defaults)
        vocabulary = with_control_tokens(tokenizer, foreign.mask_token_id)
        defaults = converted_defaults(source_defaults, vocabulary)
        config = build_config(foreign, vocabulary, chosen or ChosenFields())
        # 4. Weights
        opened.fetch_weights()
        stored, rows = plan_weights(folder, foreign.backbone, vocabulary)
        rows_before = config.vocab_size
        config.vocab_size = rows[EMBEDDING].count if rows else rows_before
        ControlTokens.from_config(config)  # checks that the ids differ and are inside the vocabulary
        config.dtype = config.get_text_config().dtype = config.dtype or DTYPES[stored[EMBEDDING].dtype]
        # 5. Write
        notes = notes_on(foreign, vocabulary) + notes_on_defaults(source_defaults, vocabulary)
        readme = first_card(folder, str(source), opened.is_repository, notes)
        contents = Contents(folder, config, defaults, vocabulary, stored, rows, readme)
        write_checkpoint(contents, out, opened.progress)
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
        repeat_promises=config.repeat_promises,
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


@dataclass(frozen=True)
class OpenSource:
    """A source that is being converted: a folder with its small files, and a function that fetches its weights there.

    Attributes:
        progress: as of `convert`, for the writing.
    """

    folder: Path
    is_repository: bool
    progress: Progress
    fetch_weights: Callable[[], object] = lambda: None


@contextmanager
def open_source(
    source: str | Path, out: Path, revision: str | None, gguf_file: str | None, progress: Progress
) -> Iterator[OpenSource]:
    """Yield the source as a folder; a GGUF file is unpacked beside `out` for as long.

    Raises:
        ValueError: neither a folder, a GGUF file nor a repository that can be downloaded.
    """
    path = Path(source).expanduser()
    is_file, is_repository = path.is_file() and path.suffix == ENDING, False
    if is_file:
        gguf = path
    else:
        name = locate(source)
        is_repository = not Path(name).is_dir()
        first = SMALL_FILES if gguf_file is None else [gguf_file, *TEXTS]
        folder = download(name, revision, first) if is_repository else Path(name)
        gguf = None if is_repository and gguf_file is None else find_gguf(folder, gguf_file)
        if gguf is None:
            fetch = (lambda: download(name, revision, ["*.safetensors"])) if is_repository else (lambda: None)
            yield OpenSource(folder, is_repository, progress, fetch)
            return
    with unpacked(gguf, out, not is_file, progress) as folder:
        yield OpenSource(folder, is_repository, lambda done, total: progress(total + done, 2 * total))


def download(name: str, revision: str | None, patterns: list[str]) -> Path:
    """Return the folder with those files of a repository.

    Raises:
        ValueError: the repository cannot be reached, or does not exist.
    """
    try:
        return Path(snapshot_download(name, revision=revision, allow_patterns=patterns))
    except (HfHubHTTPError, HFValidationError, OSError) as error:
        raise ValueError(f"{name} cannot be fetched: {first_line(error)}; check name, token and network.") from error


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
        repeat_promises=chosen.repeat_promises,
        architectures=[PlannedDiffusionForCausalLM.__name__],
        dtype=foreign.backbone.dtype,
        **cast(dict[str, Any], vocabulary.ids),
    )
