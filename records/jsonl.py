"""Read JSON Lines, plain or gzipped, with line numbers for error messages."""

import codecs
import gzip
import json
import shutil
import sys
import weakref
import zlib
from collections.abc import Callable, Iterator
from io import BufferedIOBase
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

UNREADABLE = (OSError, EOFError, zlib.error)  # raised by a file that is damaged, or gzip in name only


def open_bytes(path: Path) -> BufferedIOBase:
    """Open a file for reading; one whose name ends in .gz is unpacked."""
    return gzip.open(path) if path.name.lower().endswith(".gz") else path.open("rb")


def json_lines(path: Path, name: str = "") -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the number of each line, counted from 1, and its object; empty lines are skipped.

    Args:
        name: name for the messages; by default the path.

    Raises:
        ValueError: a line is no JSON object in UTF-8, or the file cannot be read to its end.
    """
    number, name = 0, name or str(path)
    try:
        with open_bytes(path) as lines:
            for number, line in enumerate(lines, start=1):
                if line.strip():
                    yield number, _object(line, f"{name}, line {number}")
    except UNREADABLE as error:
        raise ValueError(
            f"{name}, after line {number}: cannot be read further ({error}); is the file whole?"
        ) from error


def kept_input(name: str) -> Callable[[], Iterator[tuple[int, dict[str, Any]]]]:
    """Keep JSON Lines from standard input in a temporary file; return a function that reads them from the beginning.

    The file is removed with the function.

    Args:
        name: name for the messages.

    Raises:
        ValueError: as `KeptInput`.
    """
    kept = KeptInput()
    return lambda: json_lines(kept.path, name=name)


class KeptInput:
    """Standard input in a temporary file, which is removed with this object.

    Raises:
        ValueError: standard input is closed, or a terminal, where nothing has been piped in.
    """

    def __init__(self) -> None:
        if sys.stdin is None or sys.stdin.isatty():
            raise ValueError("There is nothing on standard input; pipe JSON Lines in, or name a file.")
        folder = mkdtemp(prefix="planned-diffusion-")
        weakref.finalize(self, shutil.rmtree, folder)
        self.path = Path(folder) / "input.jsonl"
        with self.path.open("wb") as file:
            shutil.copyfileobj(sys.stdin.buffer, file)


def _object(line: bytes, where: str) -> dict[str, Any]:
    """Return the object of a line; a byte order mark, as files that were joined have it anywhere, is skipped."""
    try:
        row = json.loads(line.removeprefix(codecs.BOM_UTF8).decode())
    except UnicodeDecodeError as error:
        raise ValueError(f"{where}: not UTF-8 ({error.reason} at byte {error.start}); convert the file.") from error
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{where}: not JSON ({error}); write one object per line.") from error
    if not isinstance(row, dict):
        raise ValueError(f"{where}: {type(row).__name__} instead of an object; write one object per line.")
    return row
