"""Share a run out over processes: each answers some of the batches into a file of its own, and a last run gathers them.

    evaluate ... --keep answers.jsonl --shard 1/2      writes answers.1-of-2.jsonl
    evaluate ... --keep answers.jsonl --shard 2/2      writes answers.2-of-2.jsonl, at the same time, maybe elsewhere
    evaluate ... --keep answers.jsonl                  takes both, does what they lack, and reports all of it

A shard has whole batches, every `count`-th of them, so that each is composed as in a run of one process and its
answers are the same. Files of shards that belong to another run are refused, as every such file is.
"""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from ..records.journal import Journal

_WRITTEN = re.compile(r"([0-9]+)/([0-9]+)")


@dataclass(frozen=True)
class Shard:
    """Share `number` of `count`, counted from 1.

    Raises:
        ValueError: there is no such share.
    """

    number: int
    count: int

    def __post_init__(self) -> None:
        if not 1 <= self.number <= self.count:
            raise ValueError(f"The shard is {self}; give a number from 1 to the number of shards, such as 1/2.")

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"

    @classmethod
    def read(cls, text: str) -> Self:
        """Return the shard that a text such as "1/2" names.

        Raises:
            ValueError: another form, or no such share.
        """
        found = _WRITTEN.fullmatch(text)
        if found is None:
            raise ValueError(f"The shard is {text!r}; give a number and how many there are, such as 1/2.")
        return cls(int(found[1]), int(found[2]))

    def holds(self, place: int) -> bool:
        """Tell whether the batch at a place, counted from 0, belongs to this share."""
        return place % self.count == self.number - 1

    def file_beside(self, keep: Path) -> Path:
        """Return the file of this share, beside the file of the whole run."""
        return keep.with_name(f"{keep.stem}.{self.number}-of-{self.count}{keep.suffix}")


def stamp_of_shard(shard: Shard | None) -> dict[str, str]:
    """Return what the stamp of a run says of its share; nothing for a whole run."""
    return {} if shard is None else {"shard": str(shard)}


@contextmanager
def kept_entries(keep: Path | None, header: dict[str, Any], shard: Shard | None = None) -> Iterator[Journal | None]:
    """Open the file of a run: that of a share, or the whole with what shares have finished; None where none is kept.

    Raises:
        ValueError: a share without a file, or a file that belongs to another run.
        RuntimeError: the file cannot be written.
    """
    if keep is None:
        if shard is not None:
            raise ValueError(f"Shard {shard} has no file for its results; give --keep as well.")
        yield None
        return
    with Journal(keep if shard is None else shard.file_beside(keep), header) as journal:
        if shard is None:
            gather(journal, files_of_shards(keep))
        yield journal


def files_of_shards(keep: Path) -> list[Path]:
    """Return the files of shards that lie beside the file of a whole run, in the order of their names."""
    own = re.compile(re.escape(keep.stem) + r"\.[0-9]+-of-[0-9]+" + re.escape(keep.suffix))
    return sorted(file for file in keep.parent.iterdir() if own.fullmatch(file.name))


def gather(journal: Journal, files: list[Path]) -> None:
    """Copy the entries of shards into the file of the whole run, but for those that it has.

    Raises:
        ValueError: a file of another run.
        RuntimeError: an entry cannot be written.
    """
    known = {entry["hash"] for entry in journal.entries(journal.stop)}
    for file in files:
        for entry in _entries(file, journal):
            if entry["hash"] not in known:
                known.add(entry["hash"])
                journal.append({**entry, "index": journal.stop})


def _entries(file: Path, journal: Journal) -> Iterator[dict[str, Any]]:
    """Yield the whole entries of a shard's file, which may still be growing."""
    lines = [line for line in file.read_bytes().splitlines(keepends=True) if line.endswith(b"\n")]
    if lines and json.loads(lines[0]) != {"settings": journal.header}:
        raise ValueError(
            f"{file} was begun by another run than {journal.path}; delete it, or give --keep another name."
        )
    yield from map(json.loads, lines[1:])
