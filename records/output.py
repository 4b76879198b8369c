"""Output files: the paths of side files, whether a file can be written, and files that appear whole or not at all."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO


def beside(out: Path, ending: str) -> Path:
    """Return the path of a side file: the output's name with an ending behind it."""
    return out.with_name(out.name + ending)


def make_place_for(out: Path) -> None:
    """Make the folder of a file that is to be written.

    Raises:
        ValueError: the file exists, or its folder cannot be written to.
    """
    if out.exists():
        raise ValueError(f"{out} is there already; delete it, or name another file.")
    with suppress(OSError):
        out.parent.mkdir(parents=True, exist_ok=True)
    if not out.parent.is_dir() or not os.access(out.parent, os.W_OK):
        raise ValueError(f"No file can be written into {out.parent}; name another folder.")


@contextmanager
def whole_files(out: Path, side_ending: str, finished: int) -> Iterator[tuple[BinaryIO, BinaryIO]]:
    """Open OUT and a side file for writing; each takes its name only when both are whole, OUT last.

    An empty side file is removed, and so is that of an earlier run.

    Args:
        side_ending: the end of the side file's name, behind that of OUT, e.g. ".failed.jsonl".
        finished: the number of finished records, for the message.

    Raises:
        RuntimeError: the disk is full or gone; neither file is left behind.
    """
    new, new_side, side = beside(out, ".new"), beside(out, f"{side_ending}.new"), beside(out, side_ending)
    try:
        with new.open("wb") as file, new_side.open("wb") as side_file:
            yield file, side_file
            for each in (file, side_file):
                each.flush()
                os.fsync(each.fileno())
        if new_side.stat().st_size:
            os.replace(new_side, side)
        else:
            new_side.unlink()
            side.unlink(missing_ok=True)
        os.replace(new, out)
    except OSError as error:
        for path in (new, new_side):
            path.unlink(missing_ok=True)
        raise unwritable(out, error, finished) from error


def unwritable(path: Path, error: OSError, finished: int) -> RuntimeError:
    """Return the error to raise where the disk is full or gone."""
    return RuntimeError(
        f"Cannot continue writing {path} ({error.strerror}); {finished} finished records are safe. "
        "Make room, and run the same command again to go on."
    )
