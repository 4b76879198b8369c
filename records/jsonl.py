"""Read JSON Lines, plain or gzipped, with line numbers for error messages."""

import codecs
import gzip
import json
import zlib
from collections.abc import Iterator
from io import BufferedIOBase
from pathlib import Path
from typing import Any

UNREADABLE = (OSError, EOFError, zlib.error)  # raised by a file that is damaged, or gzip in name only


def open_bytes(path: Path, gzipped: bool = True) -> BufferedIOBase:
    """Open a file for reading; one whose name ends in .gz is unpacked, unless `gzipped` is false."""
    return gzip.open(path) if gzipped and path.name.lower().endswith(".gz") else path.open("rb")


def json_lines(path: Path, gzipped: bool = True) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the number of each line, counted from 1, and its object; empty lines are skipped.

    Args:
        gzipped: unpack a file whose name ends in .gz.

    Raises:
        ValueError: a line is no JSON object in UTF-8, or the file cannot be read to its end.
    """
    number = 0
    try:
        with open_bytes(path, gzipped) as lines:
            for number, line in enumerate(lines, start=1):
                if line.strip():
                    yield number, _object(line, f"{path}, line {number}")
    except UNREADABLE as error:
        raise ValueError(
            f"{path}, after line {number}: cannot be read further ({error}); is the file whole?"
        ) from error


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
