"""Write the folder of a converted checkpoint: whole or not at all, weights as a stream."""

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ...configuration_planned_diffusion import PlannedDiffusionConfig
from ...generation.config import PlannedDiffusionGenerationConfig
from ...records.escaping import save_tokenizer
from ..flat import write_flat_code
from .source_tokenizer import Vocabulary
from .weight_files import INDEX, Rows, Stored, index_of, write_file

LICENCES = ("LICENSE*", "LICENCE*", "NOTICE*", "USE_POLICY*")
Progress = Callable[[int, int], object]  # bytes written, bytes in all


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
    defaults: PlannedDiffusionGenerationConfig
    vocabulary: Vocabulary
    stored: dict[str, Stored]
    rows: dict[str, Rows]
    readme: str

    @property
    def weight_bytes(self) -> int:
        """Return the bytes of all tensors to copy."""
        return sum(tensor.stop - tensor.start for tensor in self.stored.values())


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
        contents.defaults.save_pretrained(partial)
        save_tokenizer(contents.vocabulary.tokenizer, partial)
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
