"""The same on Ray Data: every worker is an actor with a model and a crowd of its own; this process keeps the journal.

    requests -> small blocks -> the actors, several calls in each at a time -> outcomes -> journal, by one writer

The calls of an actor share one engine, and there is always a call more than it has room for, so that it never runs
empty while a block waits for its last answer. Ray starts a dead actor again and gives its blocks to others; a block
is handed over whole or not at all, and the journal takes every request once.
"""

import json
import logging
import os
import threading
from collections.abc import Generator, Iterator
from concurrent.futures import Future
from dataclasses import asdict
from queue import Empty, SimpleQueue

from ..answer import load
from .crowd import Crowd
from .reading import Task
from .run import Job, batch_size_on, crowd_of

BLOCKS_OF_A_BATCH = 4  # smaller blocks lose less with a worker, larger ones take Ray less time


class Worker:
    """One model that answers the requests of several callers together; lives in an actor of Ray."""

    def __init__(self, model: str, dtype: str, device: str, settings: dict, batch_size: int):
        self.waiting: SimpleQueue[tuple[Task, Future]] = SimpleQueue()
        crowd = crowd_of(load(model, dtype, device), settings, batch_size)
        threading.Thread(target=self._answer, args=(crowd,), daemon=True).start()

    def __call__(self, rows: dict) -> dict:
        """A block of tasks to a block of entries, both as JSON; waits until all of them have come to their end."""
        futures = [Future() for _ in rows["task"]]
        for row, future in zip(rows["task"], futures, strict=True):
            self.waiting.put((Task(**json.loads(row)), future))
        return {"entry": [json.dumps(future.result()) for future in futures]}

    def _answer(self, crowd: Crowd) -> None:
        owners: dict[int, Future] = {}
        while True:
            while crowd.room > 0:
                try:
                    task, future = self.waiting.get(block=not len(crowd))
                except Empty:
                    break
                owners[task.index] = future
                crowd.add(task)
            try:
                for outcome in crowd.tick():
                    owners.pop(outcome.task.index).set_result(outcome.entry())
            except Exception as error:  # out of memory, say: every caller must hear of it, and the run end
                while True:
                    for future in owners.values():
                        future.set_exception(error)
                    task, future = self.waiting.get()
                    owners = {task.index: future}


def entries(job: Job, tasks: Iterator[Task], count: int) -> Generator[dict]:
    """An entry of the journal for every task, in the order of their ends.

    Raises:
        RuntimeError: Ray is not installed, the cluster cannot be reached or has no room, or a worker fails.
    """
    ray = _ray()
    workers, resources = _start(ray, job)
    try:
        yield from _run(ray, job, tasks, count, workers, resources)
    except ray.exceptions.RayError as error:
        raise RuntimeError(
            f"A worker failed ({_reason(error)}); finished answers are safe in {job.out}.partial. Mend that, and run "
            "the same command again to go on."
        ) from error
    finally:
        ray.shutdown()


def _run(ray, job: Job, tasks: Iterator[Task], count: int, workers: int, resources: dict) -> Iterator[dict]:
    kind = "cuda" if "num_gpus" in resources else "cpu"
    batch_size = job.batch_size or batch_size_on(kind)
    rows = max(1, min(batch_size // BLOCKS_OF_A_BATCH, count // workers))
    calls = -(-batch_size // rows) + 1
    items = [{"task": json.dumps(asdict(task))} for task in tasks]
    answered = ray.data.from_items(items, override_num_blocks=-(-count // rows)).map_batches(
        Worker,
        fn_constructor_args=(job.model, job.dtype, job.device, job.settings, batch_size),
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


def _ray():
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is reported to anyone
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # what is wrong with a worker comes as an exception
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise RuntimeError(
            "Several workers need Ray; run pip install 'planned-diffusion[ray]', or leave --workers and --ray out."
        ) from error
    return ray


def _start(ray, job: Job) -> tuple[int, dict]:
    """Starts or joins a cluster; the number of workers, and what each of them asks of it."""
    processors = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quiet = {"log_to_driver": False, "logging_level": logging.ERROR}
    if job.cluster is None:
        share = max(1, processors // job.workers)
        ray.init(num_cpus=share * job.workers, include_dashboard=False, **quiet)
    else:
        try:
            ray.init(address=job.cluster, **quiet)
        except (ConnectionError, ValueError) as error:
            raise RuntimeError(f"There is no Ray at {job.cluster} ({_reason(error)}); see ray status.") from error
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    machines = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    gpus = int(sum(machine.get("GPU", 0) for machine in machines)) if job.device != "cpu" else 0
    workers = job.workers or gpus or len(machines)
    if gpus:
        return workers, {"num_cpus": 1, "num_gpus": 1}
    smallest = int(min(machine.get("CPU", 1) for machine in machines))
    return workers, {"num_cpus": max(1, smallest // -(-workers // len(machines)))}


def _reason(error: Exception) -> str:
    """The last line of a worker's traceback, or the first of a plain message."""
    cause = getattr(error, "cause", None) or error.__cause__ or error
    lines = [line.strip() for line in str(cause).strip().splitlines() if line.strip()] or [type(error).__name__]
    return lines[-1 if "Traceback" in str(cause) else 0].rstrip(".")
