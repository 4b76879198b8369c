"""A batch job: the file to answer, how to answer it, and the header by which its journal recognises it."""

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ...records.output import make_place_for
from ..answer import check_fields
from .tasks import STDIN, TaskFile


@dataclass(frozen=True)
class BatchJob:
    """A file of requests and how to answer it.

    source: the file of requests, "-" for standard input; out: the file of answers.
    model: folder or Hub repository of a checkpoint.
    fields: fields of `generate` for every request; those of a request come first.
    dtype, device: as `answer.open_checkpoint` takes them.
    batch_size: the number of requests that run together, per worker; by default one that suits the device.
    workers: the number of Ray workers; None answers in this process. With a cluster, the default is one worker per
        GPU or, without GPUs, per machine.
    cluster: the address of a running Ray cluster; without it, workers run in a Ray of their own.
    compiled: compile the model, in every worker.
    """

    source: Path
    out: Path
    model: str
    fields: dict[str, Any] = field(default_factory=dict)
    dtype: str = "auto"
    device: str = "auto"
    batch_size: int | None = None
    workers: int | None = None
    cluster: str | None = None
    compiled: bool = False


def check_batch_job(job: BatchJob) -> None:
    """Raise ValueError where a job cannot end well, before work is put into it."""
    for name in ("batch_size", "workers"):
        value = getattr(job, name)
        if value is not None and value < 1:
            raise ValueError(f"{name} is {value}; give 1 or more.")
    if job.out == STDIN:
        raise ValueError(
            "OUT is -, and batch keeps answers and failed requests in files, so that a stopped run can go on; name a "
            "file, and print it when the run has ended."
        )
    make_place_for(job.out)
    check_fields(job.fields)


def header_of(job: BatchJob, tasks: TaskFile) -> dict[str, Any]:
    """Return the journal's header: all that an unfinished output must share with the run that continues it."""
    fixed = {"input": tasks.sha256, "model": job.model, "checkpoint": hash_of(job.model), "dtype": job.dtype}
    return fixed | job.fields


def hash_of(model: str) -> str | None:
    """Return a hash that changes whenever a file of a local checkpoint does; None for a Hub repository."""
    folder = Path(model)
    if not folder.is_dir():
        return None
    files = sorted(path for path in folder.iterdir() if path.suffix in (".json", ".safetensors"))
    stats = [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in files]
    return hashlib.sha256(repr(stats).encode()).hexdigest()[:16]
