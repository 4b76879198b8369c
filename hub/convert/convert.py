"""`planned-diffusion convert`: a checkpoint of others becomes a planned-diffusion checkpoint.

The backbone's parameters keep their names (modeling_planned_diffusion.py), so weights are copied as they are; only
embedding and head change, where control tokens are added. A published planned-diffusion checkpoint has them already:
it gets the configuration that says so. The body of `convert` follows this outline:
    1. source         a folder, or a repository's small files
    2. configuration  the backbone's (convert_config.py)
    3. tokenizer      every control token, old or new (convert_tokenizer.py)
    4. weights        names, shapes and dtypes checked against the model that they will make, before anything is written
    5. write          into a folder beside OUT, weights as a stream (convert_weights.py), renamed when it is complete
"""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError

from ...configuration_planned_diffusion import PlannedDiffusionConfig
from ...generation.config import PlannedDiffusionGenerationConfig
from ...generation.tokens import ControlTokens
from ...modeling_planned_diffusion import PlannedDiffusionForCausalLM
from .conversion_report import Converted, card, notes_on, spelled
from .source_config import ForeignConfig, read_config
from .source_tokenizer import Vocabulary, load_tokenizer, with_control_tokens
from .weight_files import DTYPES, INDEX, index_of, write_file
from .weight_rows import EMBEDDING, plan_weights

PUBLISHED_UNIT = 10
PUBLISHED_SEPARATOR = " "  # how the published code joins spans when it removes their tags
LICENCES = ("LICENSE*", "LICENCE*", "NOTICE*", "USE_POLICY*")
SMALL_FILES = ["*.json", "*.txt", "*.jinja", "*.model", "README.md", *LICENCES]
Progress = Callable[[int, int], object]  # bytes written, bytes in all


def convert(
    source: str | Path,
    out: str | Path,
    tokens_per_length_unit: int | None = None,
    span_attention: str | None = None,
    span_separator: str | None = None,
    revision: str | None = None,
    progress: Progress = lambda done, total: None,
) -> Converted:
    """Converts a checkpoint; its memory does not depend on the checkpoint's size.

    Args:
        source: folder or Hub repository of Llama, SmolLM, Qwen2, Qwen2.5, Qwen3, Dream, or published planned diffusion.
        out: folder that does not exist or is empty.
        tokens_per_length_unit: tokens that a promised number of 1 stands for; 10 by default.
        span_attention: "sparse" or "dense"; by default what a published checkpoint was trained with, else sparse.
        span_separator: text between spans; by default a space for published checkpoints, else nothing.
        revision: branch, tag or commit of a Hub repository.
        progress: told of bytes written and bytes in all.

    Raises:
        ValueError: a source that cannot be converted, or an `out` that cannot be written; nothing is left behind.
    """
    # 1. Source
    out = Path(out).expanduser().absolute()
    check_destination(out)
    folder, fetch_weights = locate(str(source), revision)
    # 2. Configuration
    foreign = read_config(folder)
    # 3. Tokenizer
    vocabulary = with_control_tokens(load_tokenizer(folder, foreign.is_dream), foreign.mask_token_id)
    is_published = foreign.is_dream and vocabulary.has_all_tags
    config = configuration(foreign, vocabulary, tokens_per_length_unit, span_attention, span_separator, is_published)
    # 4. Weights
    fetch_weights()
    stored, rows = plan_weights(folder, foreign.backbone, vocabulary)
    before = config.vocab_size
    config.vocab_size = rows[EMBEDDING].count if rows else before
    ControlTokens.from_config(config)  # ids that differ and lie inside
    config.dtype = config.get_text_config().dtype = config.dtype or DTYPES[stored[EMBEDDING].dtype]
    # 5. Write
    notes = notes_on(foreign, vocabulary)
    is_repository = not Path(source).expanduser().is_dir()
    readme = card(folder, str(source), is_repository, notes)
    write(folder, out, config, vocabulary, stored, rows, readme, progress)
    return Converted(
        source=str(source),
        out=str(out),
        model_type=foreign.model_type,
        tokens=spelled(vocabulary),
        added=[vocabulary.tokenizer.convert_ids_to_tokens(token) for token in vocabulary.added],
        rows=(before, config.vocab_size),
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
    if out.exists() and not out.is_dir():
        raise ValueError(f"{out} is a file; name a folder to convert into.")
    if out.is_dir() and any(out.iterdir()):
        raise ValueError(f"The folder {out} is not empty; name a new one.")


def locate(source: str, revision: str | None) -> tuple[Path, Callable[[], object]]:
    """The folder with a checkpoint's small files, and what fetches its weights into it."""
    folder = Path(source).expanduser()
    if folder.is_dir():
        return folder, lambda: None
    if folder.exists() or source.startswith((".", "~", "/")) or source.count("/") != 1:
        raise ValueError(f"There is no folder {source}; give a folder, or a Hub repository as owner/name.")

    def fetch(patterns: list[str]) -> str:
        try:
            return snapshot_download(source, revision=revision, allow_patterns=patterns)
        except (HfHubHTTPError, HFValidationError, OSError) as error:
            reason = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
            raise ValueError(f"{source} cannot be fetched: {reason}; check name, token and network.") from error

    return Path(fetch(SMALL_FILES)), lambda: fetch(["*.safetensors"])


# 2. Configuration


def configuration(
    foreign: ForeignConfig,
    vocabulary: Vocabulary,
    tokens_per_length_unit: int | None,
    span_attention: str | None,
    span_separator: str | None,
    is_published: bool,
) -> PlannedDiffusionConfig:
    """The converted checkpoint's configuration, its vocabulary still that of the source."""
    if span_separator is None:
        span_separator = PUBLISHED_SEPARATOR if is_published else ""
    foreign.backbone.eos_token_id = vocabulary.ids["eos_token_id"]
    return PlannedDiffusionConfig(
        backbone_config=foreign.backbone,
        tokens_per_length_unit=PUBLISHED_UNIT if tokens_per_length_unit is None else tokens_per_length_unit,
        span_attention=span_attention or foreign.span_attention,
        span_separator=span_separator,
        architectures=[PlannedDiffusionForCausalLM.__name__],
        dtype=foreign.backbone.dtype,
        **vocabulary.ids,
    )


def generation_defaults(folder: Path, vocabulary: Vocabulary) -> PlannedDiffusionGenerationConfig:
    """Greedy; every id that ended an answer of the source still does."""
    eos_ids, tokenizer = [vocabulary.ids["eos_token_id"]], vocabulary.tokenizer
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


def write(folder, out: Path, config, vocabulary: Vocabulary, stored, rows, readme: str, progress: Progress) -> None:
    """Everything into a folder beside `out`, renamed at the end; an interruption leaves `out` as it was."""
    out.parent.mkdir(parents=True, exist_ok=True)
    partial = out.parent / f".{out.name}.partial"
    shutil.rmtree(partial, ignore_errors=True)  # of a conversion that was killed
    total = sum(tensor.stop - tensor.start for tensor in stored.values())
    free = shutil.disk_usage(out.parent).free
    if free < total:
        raise ValueError(f"{out.parent} has {free / 1e9:.1f} GB left and {total / 1e9:.1f} GB are needed; make room.")
    partial.mkdir()
    try:
        write_weights(folder, partial, stored, rows, total, progress)
        config.save_pretrained(partial)
        generation_defaults(folder, vocabulary).save_pretrained(partial)
        vocabulary.tokenizer.save_pretrained(partial)
        (partial / "README.md").write_text(readme, encoding="utf-8")
        for licence in (file for pattern in LICENCES for file in folder.glob(pattern)):
            shutil.copyfile(licence, partial / licence.name)
        partial.replace(out)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise


def write_weights(folder: Path, partial: Path, stored, rows, total: int, progress: Progress) -> None:
    done = 0

    def copied(count: int) -> None:
        nonlocal done
        done += count
        progress(min(done, total), total)

    files = {}
    for name in dict.fromkeys(tensor.file for tensor in stored.values()):
        files[name] = partial / name
        kept = {key: tensor for key, tensor in stored.items() if tensor.file == name}
        write_file(folder / name, files[name], kept, rows, copied)
    if (folder / INDEX).is_file():
        (partial / INDEX).write_text(json.dumps(index_of(files), indent=2) + "\n", encoding="utf-8")
