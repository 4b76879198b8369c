"""Unpack a GGUF file into a folder as transformers writes them, for as long as the conversion takes."""

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from .checkpoint_folder import LICENCES
from .gguf_file import GgufFile, open_gguf, read_backbone, read_tokenizer
from .gguf_weights import dtype_of, plan_unpacking, unpacked_bytes, write_unpacked
from .weight_files import DTYPES, SINGLE

CARD_FIELDS = {"general.license": "license", "general.languages": "language"}


@contextmanager
def unpacked(path: Path, out: Path, has_texts: bool, progress: Callable[[int, int], object]) -> Iterator[Path]:
    """Yield a folder beside `out` with the file's configuration, tokenizer and weights; it is removed at the end.

    Args:
        has_texts: the model card and licences beside the file belong to it.
        progress: called with the bytes written and twice the bytes in all: the conversion writes them again.

    Raises:
        ValueError: a file that cannot be unpacked, or not enough room on the disk.
    """
    file = open_gguf(path)
    out.parent.mkdir(parents=True, exist_ok=True)
    folder = out.parent / f".{out.name}.unpacked"
    shutil.rmtree(folder, ignore_errors=True)  # of a conversion that was killed
    folder.mkdir()
    try:
        write_texts(file, folder, has_texts)
        unpack(file, folder, progress)
        del file  # the header of a large vocabulary takes more memory than the pieces of its weights
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def unpack(file: GgufFile, folder: Path, progress: Callable[[int, int], object]) -> None:
    """Write the folder: small files first, so that a refusal comes before the work."""
    backbone, dtype = read_backbone(file), dtype_of(file)
    planned = plan_unpacking(file, backbone)
    twice, free = 2 * unpacked_bytes(planned, dtype), shutil.disk_usage(folder).free
    if free < twice:
        raise ValueError(
            f"{folder.parent} has {free / 1e9:.1f} GB left and {twice / 1e9:.1f} GB are needed; make room."
        )
    backbone.dtype = DTYPES[dtype]
    backbone.save_pretrained(folder)
    read_tokenizer(file).save_pretrained(folder)
    generation = {"eos_token_id": file.token_ids("eos", "eot")}
    (folder / "generation_config.json").write_text(json.dumps(generation), encoding="utf-8")
    done = 0

    def report(count: int) -> None:
        nonlocal done
        done += count
        progress(done, twice)

    write_unpacked(planned, dtype, folder / SINGLE, report)


def write_texts(file: GgufFile, folder: Path, has_texts: bool) -> None:
    """Copy model card and licences from beside the file; without a card, write what the file says of its licence."""
    patterns = ("README.md", *LICENCES) if has_texts else ()
    for text in (found for pattern in patterns for found in file.path.parent.glob(pattern)):
        shutil.copyfile(text, folder / text.name)
    known = {ours: file.metadata[theirs] for theirs, ours in CARD_FIELDS.items() if theirs in file.metadata}
    if known and not (folder / "README.md").is_file():
        (folder / "README.md").write_text(f"---\n{json.dumps(known)}\n---\n", encoding="utf-8")
