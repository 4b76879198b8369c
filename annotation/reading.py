"""Read rows from JSONL (also gzipped), JSON, Parquet or a Hub dataset, one by one; errors name file and line."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import cast

from ..loading.locate import is_path
from ..records.checks import first_line
from ..records.jsonl import UNREADABLE, json_lines, kept_input, open_bytes
from .schemas import Row, Schema, schema_of

JSON_LINES = (".jsonl", ".ndjson", ".jsonl.gz", ".ndjson.gz")
JSON_LIST = (".json", ".json.gz")
PARQUET = (".parquet",)
STDIN = "standard input"
_BATCH = 1024  # rows of a Parquet file in memory at once

NumberedRows = Iterator[tuple[int, Row]]  # the number of a line, item or row, counted from 1, and the row


@dataclass(frozen=True)
class Source:
    """A readable source: all rows have the schema; `rows()` starts from the beginning at every call."""

    name: str
    schema: Schema
    count: int
    rows: Callable[[], Iterator[Row]]


def open_source(source: str, split: str = "train", limit: int | None = None) -> Source:
    """Open a file, or a dataset of the Hub as owner/name, and read it through once to check every row.

    "-" stands for JSON Lines on standard input, which are kept in a temporary file.

    Raises:
        ValueError: no such file or dataset, no rows, a line that is no JSON object, columns that cannot be
            recognised, or rows of different schemas (with the number of the line or row).
        RuntimeError: a package that is needed to read it is not installed, or the Hub cannot be reached.
    """
    path = Path(source).expanduser()
    if source == "-":
        name, word, numbered = STDIN, "line", kept_input(STDIN)
    elif path.exists():
        name, word, numbered = str(path), *_file(path)
    elif looks_like_a_file(source):
        raise ValueError(f"There is no file {source}; give a file, or a dataset of the Hub as owner/name.")
    else:
        name, word, numbered = f"{source} [{split}]", "row", _hub(source, split)

    def rows() -> Iterator[Row]:
        return (row for _, row in islice(numbered(), limit))

    schema, count = _checked(name, word, islice(numbered(), limit))
    return Source(name, schema, count, rows)


def looks_like_a_file(source: str) -> bool:
    """Tell whether a source that does not exist was meant as a file."""
    return source.lower().endswith((*JSON_LINES, *JSON_LIST, *PARQUET)) or is_path(source)


def _checked(name: str, word: str, numbered: NumberedRows) -> tuple[Schema, int]:
    """Return the schema that all rows share, and their count."""
    schema, first, count = None, 0, 0
    for number, row in numbered:
        count += 1
        try:
            found = schema_of(list(row))
        except ValueError as error:
            raise ValueError(f"{name}, {word} {number}: {error}") from error
        if schema is None:
            schema, first = found, number
        elif found != schema:
            raise ValueError(
                f"{name}, {word} {number} has the columns {found}, {word} {first} the columns {schema}; split the "
                "file, or give all rows the same columns."
            )
    if schema is None:
        raise ValueError(f"{name} holds no records.")
    return schema, count


def _file(path: Path) -> tuple[str, Callable[[], NumberedRows]]:
    """Return the word for a row of this kind of file, and a function that reads the numbered rows."""
    name = path.name.lower()
    if path.is_dir():
        raise ValueError(f"{path} is a folder; name one file: {', '.join(JSON_LINES[:1] + JSON_LIST[:1] + PARQUET)}.")
    if name.endswith(JSON_LINES):
        return "line", lambda: json_lines(path)
    if name.endswith(JSON_LIST):
        return "item", lambda: _json_list(path)
    if name.endswith(PARQUET):
        return "row", lambda: _parquet(path)
    raise ValueError(f"{path} is none of {', '.join(JSON_LINES + JSON_LIST + PARQUET)}; convert or rename it.")


def _json_list(path: Path) -> NumberedRows:
    """Read a JSON file that holds a list of objects."""
    try:
        with open_bytes(path) as file:
            rows = json.loads(file.read().decode("utf-8-sig"))
    except (*UNREADABLE, ValueError, RecursionError) as error:
        raise ValueError(f"{path}: not JSON ({error}); write a list of objects, or JSONL.") from error
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise ValueError(f"{path} is not a list of objects; write one, or JSONL with one object per line.")
    return enumerate(rows, start=1)


def _parquet(path: Path) -> NumberedRows:
    """Read a Parquet file, a batch of rows at a time."""
    try:
        import pyarrow.parquet
    except ImportError as error:
        raise RuntimeError("Parquet needs pyarrow; run pip install 'planned-diffusion[annotate]'.") from error
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            batches = (batch.to_pylist() for batch in file.iter_batches(_BATCH))
            yield from enumerate((row for batch in batches for row in batch), start=1)
    except pyarrow.ArrowException as error:
        raise ValueError(f"{path}: no readable Parquet file ({error}).") from error


def _hub(source: str, split: str) -> Callable[[], NumberedRows]:
    """Load a split of a dataset through `datasets`, which keeps it in its cache."""
    try:
        import datasets
    except ImportError as error:
        raise RuntimeError("Hub datasets need datasets; run pip install 'planned-diffusion[annotate]'.") from error
    try:
        loaded = datasets.load_dataset(source, split=split)
    except ConnectionError as error:
        raise RuntimeError(f"The dataset {source} cannot be reached: {first_line(error)}.") from error
    except (ValueError, OSError) as error:
        raise ValueError(f"There is no file {source}, and no dataset of that name ({first_line(error)}).") from error
    return lambda: enumerate(cast(Iterator[Row], loaded), start=1)
