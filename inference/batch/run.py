"""`planned-diffusion batch`: a file of requests to a file of answers.

    1. read IN through once; a line that is no request is refused with its number     tasks.py
    2. answer, many requests in one engine, or by workers of Ray                      batcher.py, ray_workers.py
    3. keep every outcome in OUT.partial as it comes                                  records/journal.py
    4. when all are done: OUT.failed.jsonl, and last of all OUT, in the order of IN

A run that was stopped goes on where it was when the same command is given again: what is in OUT.partial is not done
again, what was under way is.
"""

import hashlib
import os
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from ...records.journal import Journal, json_line
from ...records.output import beside, make_place_for, unwritable
from ..answer import check_fields, load
from .batcher import Crowd, outcomes
from .tasks import Input, Task, open_input

# By kind of device. On one CPU thread the included model answers 3.5, 3.7 and 4.2 times as fast in batches of 8, 16 and
# 32 as one at a time (threshold 0.9, CPU seconds, 2026-11-21); on a GPU that of the engine, unmeasured.
BATCH_SIZES = {"cpu": 32, "cuda": 64}


@dataclass(frozen=True)
class Job:
    """What to answer and how.

    settings: fields of `generate` for every request; what a line says comes first.
    batch_size: requests under way together (per worker); by default what suits the device.
    workers: processes of Ray, None for this one; by default of a cluster, one per GPU or, without any, per machine.
    cluster: address of a running Ray; a Ray of its own is started where workers are asked for without it.
    compiled: the model runs compiled (per worker).
    """

    source: Path
    out: Path
    model: str
    settings: dict = field(default_factory=dict)
    dtype: str = "auto"
    device: str = "auto"
    batch_size: int | None = None
    workers: int | None = None
    cluster: str | None = None
    compiled: bool = False


def check_job(job: Job) -> None:
    """Raises ValueError where a job cannot end well, before work is put into it."""
    for name in ("batch_size", "workers"):
        value = getattr(job, name)
        if value is not None and value < 1:
            raise ValueError(f"{name} is {value}; give 1 or more.")
    make_place_for(job.out)
    check_fields(job.settings)


def run(job: Job, show: Callable[[int, int], None] = lambda finished, total: None) -> dict:
    """Answers all requests and returns what the command prints.

    Args:
        show: called with (outcomes there are, requests) at the start and after every outcome.

    Raises:
        ValueError: bad input or settings, or an unfinished output of others.
        RuntimeError: a failing worker, a full disk, Ray is not installed, or no request could be answered; what is
            finished is kept.
    """
    check_job(job)
    given = open_input(job.source)
    with Journal(beside(job.out, ".partial"), _settings(job, given)) as journal:
        missing = (task for task in given.tasks() if not journal.is_done(task.index, task.fingerprint))
        before, tokens = len(journal), 0
        show(before, given.count)
        entries = _entries(job, missing, given.count - before)
        started = time.perf_counter()
        with closing(entries):
            for entry in entries:
                if journal.is_done(entry["index"], entry["hash"]):
                    continue  # a worker that died had handed it over already
                journal.append(entry)
                tokens += entry.get("answered", {}).get("counts", {}).get("tokens", 0)
                show(len(journal), given.count)
        seconds = time.perf_counter() - started
        failed, first = assemble(job.out, journal, given.count)
    journal.path.unlink()
    if failed == given.count:
        raise RuntimeError(f"None of the {failed} requests could be answered, the first because: {first}")
    rates = {"answers_per_second": (given.count - before) / seconds, "tokens_per_second": tokens / seconds}
    return {
        "requests": given.count,
        "answered": given.count - failed,
        "failed": failed,
        "done_before": before,
        "seconds": round(seconds, 3),
        **{name: round(value, 3) for name, value in rates.items()},
        "out": str(job.out),
    }


def _entries(job: Job, tasks: Iterator[Task], count: int) -> Generator[dict]:
    """An entry of the journal for each of `count` tasks, as they end."""
    if not count:
        return (entry for entry in ())
    if job.workers is not None or job.cluster is not None:
        from .ray_workers import entries

        return entries(job, tasks, count)
    crowd = crowd_of(load(job.model, job.dtype, job.device, job.compiled), job.settings, job.batch_size)
    return (outcome.entry() for outcome in outcomes(crowd, tasks))


def crowd_of(checkpoint, settings: dict, batch_size: int | None) -> Crowd:
    """A crowd around a checkpoint.

    Raises:
        ValueError: settings with which no request could run.
    """
    checkpoint.model.resolve_fields(None, None, dict(settings))
    return Crowd(checkpoint, settings, batch_size or batch_size_on(checkpoint.model.device.type))


def batch_size_on(kind: str) -> int:
    return BATCH_SIZES.get(kind, BATCH_SIZES["cuda"])


def assemble(out: Path, journal: Journal, count: int) -> tuple[int, str | None]:
    """Writes OUT.failed.jsonl and OUT, each whole or not at all; the number of failed requests and the first reason."""
    answered_path, failed_path = beside(out, ".new"), beside(out, ".failed.jsonl.new")
    failed, first = 0, None
    try:
        with answered_path.open("wb") as answered, failed_path.open("wb") as failures:
            for entry in journal.entries(count):
                if "answered" in entry:
                    answered.write(json_line(entry["answered"]))
                else:
                    failures.write(json_line(entry["failed"]))
                    failed, first = failed + 1, first or entry["failed"]["error"]
            _sync(answered, failures)
        if failed:
            os.replace(failed_path, beside(out, ".failed.jsonl"))
        else:
            failed_path.unlink()
            beside(out, ".failed.jsonl").unlink(missing_ok=True)  # of an earlier run
        os.replace(answered_path, out)
    except OSError as error:
        for path in (answered_path, failed_path):
            path.unlink(missing_ok=True)
        raise unwritable(out, error, len(journal)) from error
    return failed, first


def _sync(*files) -> None:
    for file in files:
        file.flush()
        os.fsync(file.fileno())


def _settings(job: Job, given: Input) -> dict:
    """What an unfinished output must share with the run that goes on with it."""
    fixed = {"input": given.sha256, "model": job.model, "checkpoint": _files_of(job.model), "dtype": job.dtype}
    return fixed | job.settings


def _files_of(model: str) -> str | None:
    """Changes when a file of a local checkpoint does."""
    folder = Path(model)
    if not folder.is_dir():
        return None
    files = sorted(path for path in folder.iterdir() if path.suffix in (".json", ".safetensors"))
    stats = [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in files]
    return hashlib.sha256(repr(stats).encode()).hexdigest()[:16]
