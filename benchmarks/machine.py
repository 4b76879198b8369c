"""Measures how fast this machine copies and multiplies; the limits are computed from these rates."""

import time
from dataclasses import dataclass

import torch
from harness import synchronize
from roofline import Work
from torch.nn import functional

LARGEST_BLOCK = 2**30  # bytes
SECONDS = 0.4  # per rate; the best measurement counts
# Rows, inputs, outputs of the products tried.
PRODUCTS = {
    "cpu": ((256, 1024, 4096), (1024, 2048, 2048)),
    "cuda": ((1024, 8192, 8192), (4096, 8192, 8192), (8192, 8192, 8192)),
}


@dataclass(frozen=True)
class Machine:
    """Rates measured on this machine, with the threads and the dtype of the run.

    bytes_per_s: of a copy, bytes read plus bytes written.
    flops_per_s: of a matrix product with bfloat16 (or whatever dtype) operands.
    block_bytes: size of the copied block; blocks within a processor's cache are copied at its speed.
    """

    bytes_per_s: float
    flops_per_s: float
    block_bytes: int

    def limit_s(self, work: Work) -> float:
        """The least seconds for this work: whichever of memory and arithmetic takes longer."""
        return max(work.bytes / self.bytes_per_s, work.flops / self.flops_per_s)

    def bound(self, work: Work) -> str:
        """Return which of memory and arithmetic limits this work."""
        is_memory = work.bytes / self.bytes_per_s >= work.flops / self.flops_per_s
        return "memory" if is_memory else "arithmetic"


def measure_machine(device: str, dtype: torch.dtype, weight_bytes: int) -> Machine:
    """Measure the machine, copying a block as large as the model's weights, which every forward reads."""
    block = min(weight_bytes, LARGEST_BLOCK)
    return Machine(copy_rate(device, block), matmul_rate(device, dtype), block)


def best_of(one: Machine, other: Machine) -> Machine:
    """The higher of two measurements of each rate: other work of the machine can only lower them."""
    return Machine(
        max(one.bytes_per_s, other.bytes_per_s), max(one.flops_per_s, other.flops_per_s), one.block_bytes
    )  # fmt: skip


def copy_rate(device: str, block_bytes: int) -> float:
    """Bytes per second, read and written."""
    source = torch.ones(block_bytes, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    return 2 * block_bytes / _best_seconds(lambda: target.copy_(source))


def matmul_rate(device: str, dtype: torch.dtype) -> float:
    """Floating-point operations per second of the best product tried."""
    rates = []
    for rows, inputs, outputs in PRODUCTS[device]:
        states = torch.randn(rows, inputs, device=device, dtype=dtype)
        weight = torch.randn(outputs, inputs, device=device, dtype=dtype)
        rates.append(2 * rows * inputs * outputs / _best_seconds(lambda s=states, w=weight: functional.linear(s, w)))
    return max(rates)


def _best_seconds(run) -> float:
    run()
    synchronize()
    best, began = float("inf"), time.perf_counter()
    while time.perf_counter() - began < SECONDS:
        started = time.perf_counter()
        run()
        synchronize()
        best = min(best, time.perf_counter() - started)
    return best
