"""Read JSON Lines, plain or gzipped, with line numbers for error messages."""

import gzip
import json
import zlib
from collections.abc import Iterator
from pathlib import Path


def _open(path: Path):
    return gzip.open(path) if path.name.lower().endswith(".gz") else path.open("rb")


def json_lines(path: Path) -> Iterator[tuple[int, dict]]:
    number = 0
    try:
        with _open(path) as lines:
            for number, line in enumerate(lines, start=1):
                if line.strip():
                    yield number, _object(line, f"{path}, line {number}")
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(f"{path}, after line {number}: cannot be read on ({error}); is the file whole?") from error


def _object(line: bytes, where: str) -> dict:
    try:
        row = json.loads(line.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{where}: not JSON ({error}); write one object per line.") from error
    if not isinstance(row, dict):
        raise ValueError(f"{where}: {type(row).__name__} instead of an object; write one object per line.")
    return row
