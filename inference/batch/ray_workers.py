"""Batches on Ray Data: every worker is an actor with a model and a batcher of its own; this process keeps the journal.

    requests -> small blocks -> the actors, several calls in each at a time -> outcomes -> journal, by one writer

The calls of an actor share one engine, and there is always one call more than the engine has room for, so that it
never runs empty at the end of a block. Ray restarts an actor that died and gives its blocks to others; a block arrives
whole or not at all, and the journal takes every request once.
"""

import json
import logging
import threading
from collections.abc import Generator, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import asdict
from queue import Empty, SimpleQueue
from types import ModuleType
from typing import Any

from ..answer import open_checkpoint
from ..ray_cluster import Wanted, import_ray, start_ray
from .batcher import Batcher, batch_size_on
from .job import BatchJob
from .tasks import Task

BLOCKS_PER_BATCH = 4  # smaller blocks lose less with a worker, larger ones take Ray less time

Entry = dict[str, Any]  # of the journal; or {"broken", "bad_use"}, see Worker


class Worker:
    """A model that answers the requests of several callers together; it lives in an actor of Ray.

    Args:
        job: names the model and the fields.
        batch_size: the number of requests that run together.
    """

    def __init__(self, job: BatchJob, batch_size: int) -> None:
        self.job, self.batch_size = job, batch_size
        self.queue: SimpleQueue[tuple[Task, Future[Entry]]] = SimpleQueue()
        self.futures: dict[int, Future[Entry]] = {}  # by the task's index
        threading.Thread(target=self._serve, daemon=True).start()

    def __call__(self, rows: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
        """Answer a block of tasks; return a block of entries when all of them have ended. Both are JSON.

        Where the worker cannot go on, an entry is {"broken": why, "bad_use": whether the caller can mend it}.
        """
        futures: list[Future[Entry]] = [Future() for _ in rows["task"]]
        for row, future in zip(rows["task"], futures, strict=True):
            self.queue.put((Task(**json.loads(row)), future))
        return {"entry": [json.dumps(future.result()) for future in futures]}

    def _serve(self) -> None:
        job = self.job
        try:
            checkpoint = open_checkpoint(job.model, job.dtype, job.device, job.compiled)
            self._answer(Batcher(checkpoint, job.fields, self.batch_size))
        except Exception as error:  # no model, no memory: every caller gets the reason
            is_bad_use = isinstance(error, ValueError)
            why = str(error) if is_bad_use else f"{type(error).__name__}: {error}"
            while True:
                for future in self.futures.values():
                    future.set_result({"broken": why, "bad_use": is_bad_use})
                task, future = self.queue.get()
                self.futures = {task.index: future}

    def _answer(self, batcher: Batcher) -> None:
        while True:
            while batcher.room > 0:
                try:
                    task, future = self.queue.get(block=not len(batcher))
                except Empty:
                    break
                self.futures[task.index] = future
                batcher.add(task)
            for outcome in batcher.tick():
                self.futures.pop(outcome.task.index).set_result(outcome.entry())


def entries(job: BatchJob, tasks: Iterator[Task], count: int) -> Generator[Entry]:
    """Yield an entry of the journal for every task, as they end.

    Raises:
        ValueError: a model that cannot be loaded, or fields with which no request could run.
        RuntimeError: Ray is not installed, the cluster cannot be reached, or a worker fails.
    """
    wanted = Wanted("workers", job.workers, job.device, job.cluster)
    ray = import_ray(wanted, "data")
    try:
        workers, resources = start_ray(ray, wanted)
        for entry in _run(ray, job, tasks, count, (workers, resources)):
            if "broken" in entry:
                raise error_of_worker(job, entry["broken"], entry["bad_use"])
            yield entry
    except ray.exceptions.RayError as error:
        raise error_of_worker(job, type(error).__name__) from error
    finally:
        ray.shutdown()


def error_of_worker(job: BatchJob, why: str, is_bad_use: bool = False) -> ValueError | RuntimeError:
    """Return the error to raise where a worker cannot go on."""
    if is_bad_use:
        return ValueError(why)
    return RuntimeError(
        f"A worker failed ({why}); finished answers are safe in {job.out}.partial. Mend that, and run the same command "
        "again to go on."
    )


def _run(
    ray: ModuleType, job: BatchJob, tasks: Iterator[Task], count: int, share: tuple[int, dict[str, int]]
) -> Iterator[Entry]:
    """Yield the entries of all tasks; `share` as from `share_of`."""
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)  # errors arrive as exceptions
    ray.data.DataContext.get_current().enable_progress_bars = False
    workers, resources = share
    batch_size = job.batch_size or batch_size_on("cuda" if "num_gpus" in resources else "cpu")
    rows = max(1, min(batch_size // BLOCKS_PER_BATCH, count // workers))
    calls = -(-batch_size // rows) + 1
    items = [{"task": json.dumps(asdict(task))} for task in tasks]
    answered = ray.data.from_items(items, override_num_blocks=-(-count // rows)).map_batches(
        Worker,
        fn_constructor_args=(job, batch_size),
        batch_size=None,
        compute=ray.data.ActorPoolStrategy(
            size=workers,
            max_tasks_in_flight_per_actor=calls,
            max_concurrent_calls_per_actor=calls,
            enable_true_multi_threading=True,
        ),
        **resources,
    )
    for row in answered.iter_rows():
        yield json.loads(row["entry"])
