"""`planned-diffusion convert`: make a planned-diffusion checkpoint from another model's checkpoint.

The backbone's parameters keep their names (modeling_planned_diffusion.py), so weights are copied as they are; only
embedding and head change, where control tokens are added. A published planned-diffusion checkpoint has them already and
gets the configuration that names them. The body of `convert` follows this outline:
    1. source         a folder, or a repository's small files
    2. configuration  the backbone's (source_config.py)
    3. tokenizer      every control token, old or new (source_tokenizer.py)
    4. weights        names, shapes and dtypes checked against the resulting model before anything is written
    5. write          into a folder beside OUT, weights as a stream (weight_files.py), renamed when it is complete
"""

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError

from ...configuration_planned_diffusion import PlannedDiffusionConfig
from ...generation.config import PlannedDiffusionGenerationConfig
from ...generation.tokens import ControlTokens
from ...loading.locate import locate
from ...modeling_planned_diffusion import PlannedDiffusionForCausalLM
from ...records.checks import first_line
from ..flat import write_flat_code
from .conversion_report import Converted, first_card, ids_by_spelling, notes_on
from .source_config import ForeignConfig, read_config
from .source_tokenizer import Vocabulary, load_tokenizer, with_control_tokens
from .weight_files import DTYPES, INDEX, Rows, Stored, index_of, write_file
from .weight_rows import EMBEDDING, plan_weights

PUBLISHED_UNIT = 10
PUBLISHED_SEPARATOR = " "  # the published code joins spans with it when it removes their tags
LICENCES = ("LICENSE*", "LICENCE*", "NOTICE*", "USE_POLICY*")
SMALL_FILES = ["*.json", "*.txt", "*.jinja", "*.model", "README.md", *LICENCES]
Progress = Callable[[int, int], object]  # bytes written, bytes in all


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


@dataclass(frozen=True)
class Contents:
    """The contents of a converted checkpoint, before they are written.

    Attributes:
        folder: the source's files.
        stored: the tensors to copy, by name.
        rows: new rows of embedding and head, by name of the tensor.
        readme: text of README.md.
    """

    folder: Path
    config: PlannedDiffusionConfig
    vocabulary: Vocabulary
    stored: dict[str, Stored]
    rows: dict[str, Rows]
    readme: str

    @property
    def weight_bytes(self) -> int:
        """Return the bytes of all tensors to copy."""
        return sum(tensor.stop - tensor.start for tensor in self.stored.values())


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


def generation_defaults(folder: Path, vocabulary: Vocabulary) -> PlannedDiffusionGenerationConfig:
    """Return greedy defaults, in which every id that ended an answer of the source still does."""
    eos_ids, tokenizer = [vocabulary.eos_token_id], vocabulary.tokenizer
    if (folder / "generation_config.json").is_file():
        stored = json.loads((folder / "generation_config.json").read_text(encoding="utf-8")).get("eos_token_id")
        eos_ids += stored if isinstance(stored, list) else [stored]
    eos_ids = list(dict.fromkeys(token for token in eos_ids if token is not None))
    return PlannedDiffusionGenerationConfig(
        do_sample=False,
        eos_token_id=eos_ids if len(eos_ids) > 1 else eos_ids[0],
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
    )


# 5. Write


def write_checkpoint(contents: Contents, out: Path, progress: Progress) -> None:
    """Write everything into a folder beside `out`, renamed at the end; an interruption leaves `out` as it was.

    Raises:
        ValueError: not enough room on the disk.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    partial = out.parent / f".{out.name}.partial"
    shutil.rmtree(partial, ignore_errors=True)  # of a conversion that was killed
    total, free = contents.weight_bytes, shutil.disk_usage(out.parent).free
    if free < total:
        raise ValueError(f"{out.parent} has {free / 1e9:.1f} GB left and {total / 1e9:.1f} GB are needed; make room.")
    partial.mkdir()
    try:
        write_weights(contents, partial, progress)
        contents.config.auto_map = write_flat_code(partial)
        contents.config.save_pretrained(partial)
        generation_defaults(contents.folder, contents.vocabulary).save_pretrained(partial)
        contents.vocabulary.tokenizer.save_pretrained(partial)
        (partial / "README.md").write_text(contents.readme, encoding="utf-8")
        for licence in (file for pattern in LICENCES for file in contents.folder.glob(pattern)):
            shutil.copyfile(licence, partial / licence.name)
        partial.replace(out)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise


def write_weights(contents: Contents, partial: Path, progress: Progress) -> None:
    """Write the files of weights under their old names, and their index where the source has one."""
    done, total = 0, contents.weight_bytes

    def report(count: int) -> None:
        nonlocal done
        done += count
        progress(min(done, total), total)

    files: dict[str, Path] = {}
    for name in dict.fromkeys(tensor.file for tensor in contents.stored.values()):
        files[name] = partial / name
        kept = {key: tensor for key, tensor in contents.stored.items() if tensor.file == name}
        write_file(contents.folder / name, files[name], kept, contents.rows, report)
    if (contents.folder / INDEX).is_file():
        (partial / INDEX).write_text(json.dumps(index_of(files), indent=2) + "\n", encoding="utf-8")
