"""A run of self-distillation: its settings, and the folder that it fills."""

import gzip
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ..inference.batch.run import FAILED
from ..records.journal import json_line
from ..records.jsonl import json_lines
from ..records.output import beside, unwritable

Row = dict[str, Any]


@dataclass(frozen=True)
class DistillationJob:
    """A run: a model answers prompts, and good answers become training records.

    out: the folder that is filled; model: folder or Hub repository of the checkpoint; name: as the user named it.
    count, seed: of the prompts drawn; held_out: of the forms and topics that training never sees.
    prompts: a file of prompts in place of those drawn; pool: a file whose publishable prompts are added.
    max_new_tokens: of an answer that is given as a whole; batch_size: the number of prompts that are answered together.
    annotation: fields of `AnnotationJob`.
    """

    out: Path
    model: str
    name: str
    count: int
    seed: int = 1
    held_out: bool = False
    prompts: Path | None = None
    pool: Path | None = None
    max_new_tokens: int = 300
    batch_size: int = 96
    annotation: Mapping[str, Any] = field(default_factory=dict)

    def settings(self) -> dict[str, Any]:
        """Return all that decides what is written; where it is written and how many run together do not."""
        fixed = {name: value for name, value in asdict(self).items() if name not in ("out", "name", "batch_size")}
        return {name: str(value) if isinstance(value, Path) else value for name, value in fixed.items()}


class Folder:
    """The files of a run.

    Raises:
        ValueError: the folder was begun with other settings, or cannot be written to.
    """

    def __init__(self, job: DistillationJob) -> None:
        self.path = job.out
        self.prompts = job.out / "prompts.jsonl"  # prompts with their kinds, forms and topics
        self.requests = job.out / "requests.jsonl"  # the input of batch
        self.answers = job.out / "answers.jsonl"  # the output of batch, with its journal beside it while it runs
        self.earlier = job.out / "earlier_answers.jsonl"  # those of a run that had fewer prompts
        self.kept = job.out / "kept.jsonl"  # the input of annotate
        self.dropped = job.out / "dropped.jsonl"  # answers that broke a rule, with its name
        self.annotated = job.out / "annotated.jsonl"  # the output of annotate, until it is packed
        self.annotation = beside(self.annotated, ".report.json")
        self.contrary = job.out / "contrary.jsonl"  # annotated otherwise than the prompt asks
        self.records = job.out / "records.jsonl.gz"  # what train reads
        self.report = job.out / "report.json"
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ValueError(f"{self.path} cannot be a folder ({error.strerror}); name another.") from error
        self._check_settings(job.settings())

    def all_answers(self) -> dict[str, Row]:
        """Return the answers of all runs in this folder by the ids of their requests."""
        files = [file for file in (self.earlier, self.answers) if file.is_file()]
        return {row["id"]: row for file in files for row in rows_of(file)}

    def _check_settings(self, settings: dict[str, Any]) -> None:
        """Keep the settings of a new folder; refuse others in one that was begun, but for more prompts."""
        file = self.path / "settings.json"
        if not file.is_file():
            write_whole(file, [settings])
            return
        before = json.loads(file.read_text(encoding="utf-8"))
        changed = sorted(name for name in settings.keys() | before.keys() if settings.get(name) != before.get(name))
        if changed == ["count"] and settings["count"] > before["count"]:
            self._make_room_for_more()
            write_whole(file, [settings])
        elif changed:
            raise ValueError(
                f"{self.path} was begun with other settings (changed: {', '.join(changed)}); finish it with those, or "
                "name another folder."
            )

    def _make_room_for_more(self) -> None:
        """Keep all finished answers aside, and remove what depends on the number of prompts."""
        journal = beside(self.answers, ".partial")
        answered = self.all_answers() | {row["id"]: row for row in _answers_in(journal)}
        write_whole(self.earlier, answered.values())
        annotating = beside(self.annotated, ".partial")
        records = (self.report, self.records, self.contrary, self.annotation, self.annotated, annotating)
        batch = (self.answers, beside(self.answers, FAILED), journal, self.requests, self.prompts)
        for file in (*records, self.kept, self.dropped, *batch):
            file.unlink(missing_ok=True)


def _answers_in(journal: Path) -> Iterator[Row]:
    """Yield the answers in the journal of a batch that was stopped; its last line may be torn."""
    if journal.is_file():
        with journal.open("rb") as lines:
            entries = [json.loads(line) for line in lines if line.endswith(b"\n")]
        yield from (entry["answered"] for entry in entries if "answered" in entry)


def rows_of(path: Path) -> Iterator[Row]:
    """Yield the objects of a JSON Lines file."""
    return (row for _, row in json_lines(path))


def write_whole(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write rows as JSON Lines, packed if the name ends in .gz; the file appears whole or not at all.

    The same rows give the same bytes.

    Raises:
        RuntimeError: the disk is full or gone.
    """
    new, count = beside(path, ".new"), 0
    try:
        with new.open("wb") as file:
            packed = path.name.endswith(".gz")
            lines = gzip.GzipFile(filename="", mode="wb", fileobj=file, mtime=0) if packed else file
            for row in rows:
                lines.write(json_line(row))
                count += 1
            if packed:
                lines.close()
            file.flush()
            os.fsync(file.fileno())
        os.replace(new, path)
    except OSError as error:
        new.unlink(missing_ok=True)
        raise unwritable(path, error, count) from error
