"""`planned-diffusion batch`: a file of requests to a file of answers.

    1. read IN through once; a line that is no request is refused with its number     tasks.py
    2. answer, many requests in one engine, or by workers of Ray                      batcher.py, ray_workers.py
    3. keep every outcome in OUT.partial as it comes                                  records/journal.py
    4. when all have ended: OUT.failed.jsonl, and last of all OUT, in the order of IN

An interrupted run is resumed by the same command: outcomes in OUT.partial are kept, and requests that were running
start again.
"""

import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, TypedDict

from ...records.journal import Journal, json_line
from ...records.output import beside, whole_files
from ..answer import open_checkpoint
from .batcher import Batcher, outcomes
from .job import BatchJob, check_batch_job, header_of
from .tasks import Task, open_tasks

FAILED = ".failed.jsonl"  # ending of the file of failed requests
Show = Callable[[int, int], None]  # called with (requests that have ended, requests in all)


class Summary(TypedDict):
    """The counts of a finished batch, as `planned-diffusion batch --json` prints them.

    done_before: outcomes of earlier runs; the speeds and seconds are those of this run.
    """

    requests: int
    answered: int
    failed: int
    done_before: int
    seconds: float
    answers_per_second: float
    tokens_per_second: float
    out: str


def answer_file(job: BatchJob, show: Show = lambda ended, total: None) -> Summary:
    """Answer all requests of a file and return a summary.

    Args:
        show: called at the start and after every outcome.

    Raises:
        ValueError: bad input or fields, or an unfinished output that was begun with others.
        RuntimeError: a failing worker, a full disk, Ray is not installed, or no request could be answered; finished
            outcomes are kept.
    """
    check_batch_job(job)
    tasks = open_tasks(job.source)
    with Journal(beside(job.out, ".partial"), header_of(job, tasks)) as journal:
        missing = (task for task in tasks if not journal.holds(task.index, task.fingerprint))
        before = len(journal)
        show(before, tasks.count)
        entries = _entries(job, missing, tasks.count - before)
        started = time.perf_counter()  # the model is loaded
        tokens = _collect(entries, journal, tasks.count, show)
        seconds = time.perf_counter() - started
        failed, first = write_answers(job.out, journal, tasks.count)
    journal.path.unlink()
    if failed == tasks.count:
        raise RuntimeError(
            f"None of the {failed} requests could be answered (all are in {failures_of(job.out)}), the first because: "
            f"{first}"
        )
    return Summary(
        requests=tasks.count,
        answered=tasks.count - failed,
        failed=failed,
        done_before=before,
        seconds=round(seconds, 3),
        answers_per_second=round((tasks.count - before) / seconds, 3),
        tokens_per_second=round(tokens / seconds, 3),
        out=str(job.out),
    )


def _entries(job: BatchJob, tasks: Iterator[Task], count: int) -> Generator[dict[str, Any]]:
    """Return a generator of the journal's entries for `count` tasks, as they end; the model is loaded at once."""
    if not count:
        return (entry for entry in ())
    if job.workers is not None or job.cluster is not None:
        from .ray_workers import entries

        return entries(job, tasks, count)
    checkpoint = open_checkpoint(job.model, job.dtype, job.device, job.compiled)
    batcher = Batcher(checkpoint, job.fields, job.batch_size)
    return (outcome.entry() for outcome in outcomes(batcher, tasks))


def _collect(entries: Generator[dict[str, Any]], journal: Journal, count: int, show: Show) -> int:
    """Write entries into the journal as they come; return the number of tokens in their answers."""
    tokens = 0
    with closing(entries):
        for entry in entries:
            if journal.holds(entry["index"], entry["hash"]):
                continue  # a worker that died had delivered it already
            journal.append(entry)
            tokens += entry.get("answered", {}).get("counts", {}).get("tokens", 0)
            show(len(journal), count)
    return tokens


def failures_of(out: Path) -> Path:
    """Return the path of the failed requests beside an output, each with its error; `batch` takes the file as IN."""
    return beside(out, FAILED)


def write_answers(out: Path, journal: Journal, count: int) -> tuple[int, str | None]:
    """Write OUT.failed.jsonl and OUT; return the number of failed requests and the first one's error.

    Raises:
        RuntimeError: the disk is full or gone; all finished outcomes are kept in the journal.
    """
    failed, first = 0, None
    with whole_files(out, FAILED, len(journal)) as (answers, failures):
        for entry in journal.entries(count):
            if "answered" in entry:
                answers.write(json_line(entry["answered"]))
            else:
                failures.write(json_line(entry["failed"]))
                failed, first = failed + 1, first or entry["failed"]["error"]
    return failed, first
