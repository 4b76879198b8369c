"""The same on Ray Data: every worker is an actor with a model and a crowd of its own; this process keeps the journal.

    requests -> small blocks -> the actors, several calls in each at a time -> outcomes -> journal, by one writer

The calls of an actor share one engine, and there is always a call more than it has room for, so that it never runs
empty while a block waits for its last answer. Ray starts a dead actor again and gives its blocks to others; a block
is handed over whole or not at all, and the journal takes every request once.
"""

import json
import logging
import os
import socket
import threading
from collections.abc import Generator, Iterator
from concurrent.futures import Future
from dataclasses import asdict
from queue import Empty, SimpleQueue

from ..answer import load
from .batcher import Crowd
from .run import Job, batch_size_on, crowd_of
from .tasks import Task

BLOCKS_OF_A_BATCH = 4  # smaller blocks lose less with a worker, larger ones take Ray less time


class Worker:
    """One model that answers the requests of several callers together; lives in an actor of Ray."""

    def __init__(self, model: str, dtype: str, device: str, settings: dict, batch_size: int, compiled: bool = False):
        self.waiting: SimpleQueue[tuple[Task, Future]] = SimpleQueue()
        self.owners: dict[int, Future] = {}
        of_the_model = (model, dtype, device, compiled)
        threading.Thread(target=self._serve, args=(of_the_model, settings, batch_size), daemon=True).start()

    def __call__(self, rows: dict) -> dict:
        """A block of tasks to a block of entries, both as JSON; waits until all of them have come to their end.

        Where the worker cannot go on, an entry is {"broken": why, "bad_use": whether the caller can mend it}.
        """
        futures = [Future() for _ in rows["task"]]
        for row, future in zip(rows["task"], futures, strict=True):
            self.waiting.put((Task(**json.loads(row)), future))
        return {"entry": [json.dumps(future.result()) for future in futures]}

    def _serve(self, of_the_model: tuple, settings: dict, batch_size: int) -> None:
        try:
            self._answer(crowd_of(load(*of_the_model), settings, batch_size))
        except Exception as error:  # no model, no memory: every caller must hear of it
            is_bad_use = isinstance(error, ValueError)
            why = str(error) if is_bad_use else f"{type(error).__name__}: {error}"
            while True:
                for future in self.owners.values():
                    future.set_result({"broken": why, "bad_use": is_bad_use})
                task, future = self.waiting.get()
                self.owners = {task.index: future}

    def _answer(self, crowd: Crowd) -> None:
        while True:
            while crowd.room > 0:
                try:
                    task, future = self.waiting.get(block=not len(crowd))
                except Empty:
                    break
                self.owners[task.index] = future
                crowd.add(task)
            for outcome in crowd.tick():
                self.owners.pop(outcome.task.index).set_result(outcome.entry())


def entries(job: Job, tasks: Iterator[Task], count: int) -> Generator[dict]:
    """An entry of the journal for every task, in the order of their ends.

    Raises:
        ValueError: a model that cannot be loaded, or settings with which no request could run.
        RuntimeError: Ray is not installed, the cluster cannot be reached, or a worker fails.
    """
    ray = _ray()
    try:
        workers, resources = _start(ray, job)
        for entry in _run(ray, job, tasks, count, workers, resources):
            if "broken" in entry:
                raise broken(job, entry["broken"], entry["bad_use"])
            yield entry
    except ray.exceptions.RayError as error:
        raise broken(job, type(error).__name__) from error
    finally:
        ray.shutdown()


def broken(job: Job, why: str, is_bad_use: bool = False) -> Exception:
    """What to say where a worker cannot go on."""
    if is_bad_use:
        return ValueError(why)
    return RuntimeError(
        f"A worker failed ({why}); finished answers are safe in {job.out}.partial. Mend that, and run the same command "
        "again to go on."
    )


def _run(ray, job: Job, tasks: Iterator[Task], count: int, workers: int, resources: dict) -> Iterator[dict]:
    kind = "cuda" if "num_gpus" in resources else "cpu"
    batch_size = job.batch_size or batch_size_on(kind)
    rows = max(1, min(batch_size // BLOCKS_OF_A_BATCH, count // workers))
    calls = -(-batch_size // rows) + 1
    items = [{"task": json.dumps(asdict(task))} for task in tasks]
    answered = ray.data.from_items(items, override_num_blocks=-(-count // rows)).map_batches(
        Worker,
        fn_constructor_args=(job.model, job.dtype, job.device, job.settings, batch_size, job.compiled),
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
    os.environ.setdefault("RAY_worker_niceness", "0")  # this process only waits for them
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
    quiet = {"log_to_driver": False, "logging_level": logging.ERROR}
    if job.cluster is None:
        processors = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        ray.init(address="local", num_cpus=max(processors, job.workers), include_dashboard=False, **quiet)
    else:
        try:
            _knock(job.cluster)
            ray.init(address=job.cluster, **quiet)
        except (OSError, ValueError) as error:
            raise RuntimeError(f"There is no Ray at {job.cluster} ({error}); start one, or mend --ray.") from error
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)  # what goes wrong comes as an exception
    ray.data.DataContext.get_current().enable_progress_bars = False
    return share(job, [node["Resources"] for node in ray.nodes() if node["Alive"]])


def _knock(address: str) -> None:
    """Raises OSError or ValueError where nobody listens; Ray would try for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if host:
        socket.create_connection((host, int(port)), timeout=10).close()


def share(job: Job, machines: list[dict]) -> tuple[int, dict]:
    """The number of workers and what each asks for: a GPU, or its part of the processors of its machine.

    Raises:
        ValueError: more workers than GPUs, without a cluster that could grow.
    """
    gpus = 0 if job.device == "cpu" else int(sum(machine.get("GPU", 0) for machine in machines))
    workers = job.workers or gpus or len(machines)
    if gpus:
        if workers > gpus and job.cluster is None:
            raise ValueError(f"workers is {workers}, and there are {gpus} GPUs; give at most {gpus}, or --device cpu.")
        return workers, {"num_cpus": 1, "num_gpus": 1}
    fewest = int(min(machine.get("CPU", 1) for machine in machines))
    return workers, {"num_cpus": max(1, fewest // -(-workers // len(machines)))}
