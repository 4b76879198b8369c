"""Output files: their side files, and whether they can be written."""

import os
from contextlib import suppress
from pathlib import Path


def beside(out: Path, ending: str) -> Path:
    return out.with_name(out.name + ending)


def make_place_for(out: Path) -> None:
    """Makes the folder of a file that is to be written.

    Raises:
        ValueError: the file is there already, or nothing can be written into its folder.
    """
    if out.exists():
        raise ValueError(f"{out} is there already; delete it, or name another file.")
    with suppress(OSError):
        out.parent.mkdir(parents=True, exist_ok=True)
    if not out.parent.is_dir() or not os.access(out.parent, os.W_OK):
        raise ValueError(f"No file can be written into {out.parent}; name another folder.")
