"""Remember the norm of the gradient at every step of a run, before clipping, and tell what is wrong with it."""

import math
import statistics

import torch
from torch.distributed.tensor import DTensor

HELD_ON_DEVICE = 100  # norms; each transfer waits for the device
LEAST_STEPS = 8  # steps from which on norms are compared with each other
MOST_TIMES_MEDIAN = 100.0  # norms of healthy runs stay below 10 times their median (smollm2_planner.yaml)
MOST_GROWTH = 20.0  # of the median, from the first quarter of a run to its last


class GradientNorms:
    """The norms of a run's gradients, one per optimisation step."""

    def __init__(self) -> None:
        self._last_step = 0
        self._norms: list[float] = []
        self._on_device: list[torch.Tensor] = []

    def add(self, step: int, norm: torch.Tensor | float | None) -> None:
        """Remember the norm of a step, counted from 1, once; None where the library keeps it to itself (DeepSpeed)."""
        if norm is None or step == self._last_step:
            return
        self._last_step = step
        norm = norm.full_tensor() if isinstance(norm, DTensor) else torch.as_tensor(norm)  # FSDP2 shards it, too
        self._on_device.append(norm.detach().float().reshape(()).clone())
        if len(self._on_device) >= HELD_ON_DEVICE:
            self._fetch()

    def faults(self) -> list[str]:
        """Return what is wrong with the gradients, a sentence each; nothing for a healthy run."""
        self._fetch()
        norms, steps = self._norms, len(self._norms)
        finite = [norm for norm in norms if math.isfinite(norm)]
        zeros = sum(norm == 0 for norm in finite)
        found = []
        if len(finite) < steps:
            found.append(
                f"The gradient was infinite or no number in {steps - len(finite)} of {steps} steps; lower learning_rate"
                ", or set bf16: false to find out whether the precision is to blame."
            )
        if zeros:
            found.append(
                f"The gradient was 0 in {zeros} of {steps} steps; nothing was learnt there: look at the records and at "
                "the layers that are trained."
            )
        if len(finite) >= LEAST_STEPS:
            found += _explosion(finite)
        return found

    def _fetch(self) -> None:
        """Bring the norms from the device."""
        if self._on_device:
            self._norms += torch.stack(self._on_device).tolist()
            self._on_device = []


def _explosion(norms: list[float]) -> list[str]:
    """Return a sentence where some norm is far above the others, or where they grow."""
    quarter, median, largest = len(norms) // 4, statistics.median(norms), max(norms)
    first, last = statistics.median(norms[:quarter]), statistics.median(norms[-quarter:])
    remedy = "lower learning_rate, or raise the least value of noise_range, as 1/t weighs the loss."
    if largest > MOST_TIMES_MEDIAN * median:
        step = norms.index(largest) + 1
        return [f"The gradient exploded: its norm was {largest:.3g} in step {step}, and mostly {median:.3g}; {remedy}"]
    if last > MOST_GROWTH * first:
        return [f"The gradient exploded: its norm grew from {first:.3g} to {last:.3g}; {remedy}"]
    return []
