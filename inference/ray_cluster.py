"""A Ray of our own, or a cluster that runs already, and what each of several processes takes of its machines."""

import importlib
import logging
import os
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import ModuleType


@dataclass(frozen=True)
class Wanted:
    """Processes that are wanted of Ray, each with a model.

    what: "workers" or "replicas", as the option is called that gives their number.
    count: their number; None for one per GPU or, without GPUs, per machine.
    device: as `answer.open_checkpoint` takes it.
    cluster: the address of a running cluster; None starts a Ray of our own, which ends with this process.

    Raises:
        ValueError: a count below 1.
    """

    what: str
    count: int | None = None
    device: str = "auto"
    cluster: str | None = None

    def __post_init__(self) -> None:
        if self.count is not None and self.count < 1:
            raise ValueError(f"{self.what} is {self.count}; give 1 or more.")


def import_ray(wanted: Wanted, library: str) -> ModuleType:
    """Import Ray with one of its libraries, such as "data".

    Raises:
        RuntimeError: Ray is not installed.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # send no usage statistics
    os.environ.setdefault("RAY_worker_niceness", "0")  # this process only waits for the others
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # an error in another process arrives as an exception
    try:
        ray = importlib.import_module("ray")
        importlib.import_module(f"ray.{library}")
    except ImportError as error:
        raise RuntimeError(
            f"Several {wanted.what} need Ray; run pip install 'planned-diffusion[ray]', or leave --{wanted.what} and "
            "--ray out."
        ) from error
    return ray


def start_ray(ray: ModuleType, wanted: Wanted) -> tuple[int, dict[str, int]]:
    """Start or join a cluster; return the number of processes and the resources of each.

    Raises:
        ValueError: more processes than GPUs.
        RuntimeError: no cluster at the address.
    """
    quiet = {"log_to_driver": False, "logging_level": logging.ERROR}
    if wanted.cluster is None:
        processors = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        ray.init(address="local", num_cpus=max(processors, wanted.count or 1), include_dashboard=False, **quiet)
    else:
        try:
            _check_port(wanted.cluster)
            ray.init(address=wanted.cluster, **quiet)
        except (OSError, ValueError) as error:
            raise RuntimeError(f"There is no Ray at {wanted.cluster} ({error}); start one, or mend --ray.") from error
    return share_of(wanted, [node["Resources"] for node in ray.nodes() if node["Alive"]])


def _check_port(address: str) -> None:
    """Raise OSError or ValueError where nothing listens at an address; Ray itself would try for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if host:
        socket.create_connection((host, int(port)), timeout=10).close()


def share_of(wanted: Wanted, machines: Sequence[Mapping[str, float]]) -> tuple[int, dict[str, int]]:
    """Return the number of processes and the resources of each: a GPU, or its part of a machine's processors.

    Raises:
        ValueError: more processes than GPUs, without a cluster that could grow.
    """
    gpus = 0 if wanted.device == "cpu" else int(sum(machine.get("GPU", 0) for machine in machines))
    count = wanted.count or gpus or len(machines)
    if gpus:
        if count > gpus and wanted.cluster is None:
            raise ValueError(
                f"{wanted.what} is {count}, and there are {gpus} GPUs; give at most {gpus}, or --device cpu."
            )
        return count, {"num_cpus": 1, "num_gpus": 1}
    fewest = int(min(machine.get("CPU", 1) for machine in machines))
    return count, {"num_cpus": max(1, fewest // -(-count // len(machines)))}
