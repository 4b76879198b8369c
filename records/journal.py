"""The unfinished output: an append-only file in which every finished record is safe, whatever stops the run.

Its first line holds the settings, each further one a finished record (in any order), which goes on to count when its
row has moved to another place of the source. A run that was stopped, by Ctrl-C, kill -9 or a full disk, leaves whole
lines and at most one torn one, which is cut off when the run goes on.
"""

import json
from collections.abc import Iterator
from pathlib import Path

_BEGINNING = b'{"settings": '


def json_line(value) -> bytes:
    """A value as one line of JSON; text that UTF-8 cannot hold (lone surrogates) is escaped."""
    try:
        return json.dumps(value, ensure_ascii=False, default=str).encode() + b"\n"
    except UnicodeEncodeError:
        return json.dumps(value, default=str).encode() + b"\n"


class Journal:
    """Entries by index, each `{"index", "hash", ...}`. A context manager; one process may hold it.

    Raises:
        ValueError: the file was begun with other settings, is no journal, or cannot be opened.
    """

    def __init__(self, path: Path, settings: dict):
        self.path = path
        self._places: dict[int, tuple[str, int]] = {}  # index -> hash, where its line begins
        self._restored: dict[str, int] = {}  # hash -> where its line begins, of an earlier run's entries
        self._end = 0  # of the last whole line
        try:
            self._file = path.open("ab", buffering=0)  # so that nothing is left to write when the disk is full
        except OSError as error:
            raise ValueError(f"{path} cannot be written ({error.strerror}); give OUT another place.") from error
        try:
            _lock(self._file, path)
            self._restore(settings)
        except BaseException:
            self._file.close()
            raise

    def _restore(self, settings: dict) -> None:
        """Reads what is there, cuts off a torn last line, and writes the settings into a new file."""
        header = None
        with self.path.open("rb") as lines:
            for line in lines:
                entry = _entry(line, "index" if header else "settings")
                if entry is None:
                    break
                if header is None:
                    header = entry
                else:
                    self._places[entry["index"]] = (entry["hash"], self._end)
                    self._restored[entry["hash"]] = self._end
                self._end += len(line)
            lines.seek(0)
            if header is None and not _BEGINNING.startswith(lines.read(len(_BEGINNING))):
                raise ValueError(f"{self.path} is not the unfinished output of such a run; move it away.")
        if header is not None and header.get("settings") != settings and not self._places:
            header, self._end = None, 0  # nothing is finished, so nothing is lost by beginning anew
        self._file.truncate(self._end)
        if header is None:
            self.append({"settings": settings})
        elif header.get("settings") != settings:
            before = header.get("settings") or {}
            changed = sorted(name for name in settings.keys() | before.keys() if before.get(name) != settings.get(name))
            raise ValueError(
                f"{self.path} was begun with other settings (changed: {', '.join(changed)}); finish it with those, or "
                "delete it."
            )

    def __enter__(self) -> "Journal":
        return self

    def __exit__(self, *_) -> None:
        self._file.close()

    def __len__(self) -> int:
        return len(self._places)

    def is_done(self, index: int, fingerprint: str) -> bool:
        """Whether this record is finished: under its index, or moved here from where an earlier run found it."""
        if self._places.get(index, ("",))[0] == fingerprint:
            return True
        if fingerprint in self._restored:
            self._places[index] = (fingerprint, self._restored[fingerprint])
        return fingerprint in self._restored

    @property
    def stop(self) -> int:
        """One more than the largest index of an entry; 0 without entries."""
        return max(self._places, default=-1) + 1

    def append(self, *entries: dict) -> None:
        """Writes entries and hands them to the system at once.

        Raises:
            RuntimeError: they cannot be written; what was written before is safe.
        """
        lines = [json_line(entry) for entry in entries]
        rest = b"".join(lines)
        try:
            while rest:
                rest = rest[self._file.write(rest) :]
        except OSError as error:
            raise unwritable(self.path, error, len(self)) from error
        for entry, line in zip(entries, lines, strict=True):
            if "index" in entry:
                self._places[entry["index"]] = (entry["hash"], self._end)
            self._end += len(line)

    def entries(self, count: int) -> Iterator[dict]:
        """The entries of the records 0 ... count - 1, in order; those that are not done are left out.

        An entry that serves several equal records tells its usage once.
        """
        told = set()
        with self.path.open("rb") as file:
            for index in range(count):
                if index in self._places:
                    place = self._places[index][1]
                    file.seek(place)
                    entry = json.loads(file.readline()) | {"index": index}
                    if place in told:
                        entry.pop("usage", None)
                    if "refused" in entry:
                        entry["refused"]["index"] = index
                    told.add(place)
                    yield entry


def _lock(file, path: Path) -> None:
    """Keeps a second run away from the file for as long as it is open; a system without such locks does without."""
    try:
        import fcntl
    except ImportError:
        return
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        raise ValueError(f"{path} is being written by another run; wait for it, or name another file.") from error


def _entry(line: bytes, field: str) -> dict | None:
    """The object of a whole line that has this field, None for a torn or foreign one."""
    try:
        entry = json.loads(line) if line.endswith(b"\n") else None
    except ValueError:
        return None
    return entry if isinstance(entry, dict) and field in entry else None


def unwritable(path: Path, error: OSError, finished: int) -> RuntimeError:
    """What to say where the disk is full or gone."""
    return RuntimeError(
        f"{path} cannot be written on ({error.strerror}); {finished} finished records are safe. "
        "Make room, and run the same command again to go on."
    )
