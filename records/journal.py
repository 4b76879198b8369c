"""The unfinished output: an append-only file that keeps every finished record, whatever stops the run.

The first line is a header with the settings of the run. Each further line is one finished record, in any order. A run
that is stopped (Ctrl-C, kill -9, a full disk) leaves whole lines and at most one torn line, which the next run cuts off
before it goes on.

    {"settings": {...}}
    {"index": 3, "hash": "9f86d081884c7d65", ...}

An entry's further fields belong to the command that writes it: `annotation/outcomes.py` lists those of annotate,
`inference/batch/batcher.py` those of batch. The journal itself knows `usage`, the cost of a record.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from .output import unwritable

_BEGINNING = b'{"settings": '


def json_line(value: object) -> bytes:
    """Return a value as one line of JSON; text that UTF-8 cannot hold (lone surrogates) is escaped."""
    try:
        return json.dumps(value, ensure_ascii=False, default=str).encode() + b"\n"
    except UnicodeEncodeError:
        return json.dumps(value, default=str).encode() + b"\n"


class Journal:
    """The entries of a run by index, each `{"index", "hash", ...}`. A context manager; one process may hold it.

    Raises:
        ValueError: the file was begun with another header, is no journal, or cannot be opened.
    """

    def __init__(self, path: Path, header: Mapping[str, Any]) -> None:
        self.path, self.header = path, dict(header)
        self._places: dict[int, tuple[str, int]] = {}  # index -> hash, offset of its line
        self._restored: dict[str, int] = {}  # hash -> offset of its line, for the entries of earlier runs
        self._end = 0  # offset behind the last whole line
        try:
            self._file = path.open("ab", buffering=0)  # unbuffered: nothing is left to write when the disk is full
        except OSError as error:
            raise ValueError(f"{path} cannot be written ({error.strerror}); give OUT another place.") from error
        try:
            _lock(self._file, path)
            self._restore(self.header)
        except BaseException:
            self._file.close()
            raise

    def _restore(self, header: dict[str, Any]) -> None:
        """Read the entries of earlier runs, cut off a torn last line, and write the header into a new file."""
        is_new, before = self._read()
        if not is_new and before != header and not self._places:
            is_new, self._end = True, 0  # nothing is finished, so nothing is lost by beginning anew
        self._file.truncate(self._end)
        if is_new:
            self.append({"settings": header})
        elif before != header:
            before = before or {}
            changed = sorted(name for name in header.keys() | before.keys() if before.get(name) != header.get(name))
            raise ValueError(
                f"{self.path} was begun with other settings (changed: {', '.join(changed)}); finish it with those, or "
                "delete it."
            )

    def _read(self) -> tuple[bool, dict[str, Any] | None]:
        """Read the whole lines of the file; return whether it has none, and the header that it was begun with."""
        first = None
        with self.path.open("rb") as lines:
            for line in lines:
                entry = _object_with("index" if first else "settings", line)
                if entry is None:
                    break
                if first is None:
                    first = entry
                else:
                    self._places[entry["index"]] = (entry["hash"], self._end)
                    self._restored[entry["hash"]] = self._end
                self._end += len(line)
            lines.seek(0)
            if first is None and not _BEGINNING.startswith(lines.read(len(_BEGINNING))):
                raise ValueError(f"{self.path} is not the unfinished output of such a run; move it away.")
        return first is None, first and first["settings"]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None = None,
        error: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None:
        self._file.close()

    def __len__(self) -> int:
        return len(self._places)

    def holds(self, index: int, fingerprint: str) -> bool:
        """Tell whether a record is finished at this index, where equal rows are records of their own."""
        return self._places.get(index, ("",))[0] == fingerprint

    def is_done(self, index: int, fingerprint: str) -> bool:
        """Tell whether a record is finished, here or, by an earlier run, at another index: then it is moved here."""
        if self.holds(index, fingerprint):
            return True
        if fingerprint in self._restored:
            self._places[index] = (fingerprint, self._restored[fingerprint])
        return fingerprint in self._restored

    @property
    def stop(self) -> int:
        """One more than the largest index of an entry; 0 without entries."""
        return max(self._places, default=-1) + 1

    def append(self, *entries: Mapping[str, Any]) -> None:
        """Write entries and hand them to the operating system at once.

        Raises:
            RuntimeError: they cannot be written; all that was written before is safe.
        """
        lines = [json_line(entry) for entry in entries]
        rest = b"".join(lines)
        try:
            while rest:
                rest = rest[self._file.write(rest) :]
        except OSError as error:
            raise unwritable(self.path, error, len(self)) from error
        for entry, line in zip(entries, lines, strict=True):
            if "index" in entry:  # the header has none
                self._places[entry["index"]] = (entry["hash"], self._end)
            self._end += len(line)

    def entries(self, count: int) -> Iterator[dict[str, Any]]:
        """Yield the entries of the records 0 ... count - 1 in order, as far as they are finished.

        Identical records share an entry; its usage is counted once, so only the first of them has it.
        """
        counted = set()
        with self.path.open("rb") as file:
            for index in range(count):
                if index in self._places:
                    offset = self._places[index][1]
                    file.seek(offset)
                    entry = json.loads(file.readline()) | {"index": index}
                    if offset in counted:
                        entry.pop("usage", None)
                    counted.add(offset)
                    yield entry


def _lock(file: IO[bytes], path: Path) -> None:
    """Lock the file against a second run while it is open; a system without such locks goes without."""
    try:
        import fcntl
    except ImportError:
        return
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        raise ValueError(f"{path} is being written by another run; wait for it, or name another file.") from error


def _object_with(field: str, line: bytes) -> dict[str, Any] | None:
    """Return the object of a line, None where the line is torn, no object, or without this field."""
    try:
        entry = json.loads(line) if line.endswith(b"\n") else None
    except ValueError:
        return None
    return entry if isinstance(entry, dict) and field in entry else None
