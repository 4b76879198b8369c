"""Describe the machine: cores, threads, memory, instructions, and how fast it multiplies in each data type."""

import math
import os
import platform
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

import torch

from .precision import machine_memory

QUOTA = Path("/sys/fs/cgroup/cpu.max")  # "200000 100000" is two cores, "max 100000" no limit
# Instructions of x86 CPUs that decide on the speed of products, as torch names them.
INSTRUCTIONS = ("avx2", "avx512_f", "avx512_bf16", "avx512_vnni", "amx_tile", "amx_bf16", "amx_int8")
WIDTH = 1024  # of the square matrix
ROWS = {"narrow": 4, "wide": 256}  # a forward of a few tokens, and one of many
LEAST_SECONDS = 0.03  # in which a product is repeated
COMPILERS = ("c++", "g++", "clang++")


@dataclass(frozen=True)
class Machine:
    """A machine as this process sees it.

    cores: those that it may use, by affinity and by the quota of a container.
    threads: those in which torch computes.
    memory: bytes.
    accelerator: name of the first GPU; None where torch sees none.
    instructions: of the CPU, those among INSTRUCTIONS.
    compiler: the C++ compiler by which torch compiles for a CPU; None where there is none.
    """

    system: str
    cores: float
    threads: int
    memory: int
    accelerator: str | None
    instructions: tuple[str, ...]
    compiler: str | None


@dataclass(frozen=True)
class ProductSpeed:
    """The speed of a product of ROWS rows with a matrix of WIDTH x WIDTH, in 10^9 operations per second."""

    dtype: str
    rows: str
    gigaflops: float


def describe_machine() -> Machine:
    """Return what this process has to compute with."""
    capabilities = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    return Machine(
        system=f"{platform.system()} {platform.machine()}, {capabilities.get('cpu_name') or 'CPU'}",
        cores=usable_cores(),
        threads=torch.get_num_threads(),
        memory=machine_memory(),
        accelerator=torch.cuda.get_device_name(0) if torch.cuda.is_available() else None,
        instructions=tuple(name for name in INSTRUCTIONS if capabilities.get(name)),
        compiler=os.environ.get("CXX") or next(filter(shutil.which, COMPILERS), None),
    )


def usable_cores(quota: Path = QUOTA) -> float:
    """Return the cores that this process may use; a container's quota may be a fraction."""
    try:
        cores = len(os.sched_getaffinity(0))
    except AttributeError:  # not Linux
        cores = os.cpu_count() or 1
    try:
        allowed, period = quota.read_text(encoding="ascii").split()
        return min(cores, int(allowed) / int(period))
    except (OSError, ValueError, ZeroDivisionError):
        return cores


def measure_products(device: torch.device) -> list[ProductSpeed]:
    """Measure narrow and wide products in each data type that the device has; takes less than a second on most."""
    dtypes = [torch.float32, torch.bfloat16] + [torch.float16] * (device.type == "cuda")
    return [
        ProductSpeed(str(dtype).removeprefix("torch."), name, _gigaflops(rows, dtype, device))
        for dtype in dtypes
        for name, rows in ROWS.items()
    ]


def _gigaflops(rows: int, dtype: torch.dtype, device: torch.device) -> float:
    """Return the speed of the fastest of several products."""
    some, matrix = torch.ones(rows, WIDTH, dtype=dtype, device=device), torch.ones(WIDTH, WIDTH, dtype=dtype).to(device)
    fastest, begun = math.inf, time.perf_counter()
    while fastest == math.inf or time.perf_counter() - begun < LEAST_SECONDS:
        started = time.perf_counter()
        torch.nn.functional.linear(some, matrix)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        fastest = min(fastest, time.perf_counter() - started)
    return 2 * rows * WIDTH**2 / fastest / 1e9
