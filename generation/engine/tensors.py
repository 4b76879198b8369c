"""Lists of Python integers as tensors on a device."""

from array import array
from collections.abc import Sequence
from itertools import chain

import torch


def integers(numbers: Sequence[int], device: torch.device) -> torch.Tensor:
    """Return int64 [N], by way of a buffer: `torch.tensor` takes five times as long to read a list."""
    if not numbers:
        return torch.empty(0, dtype=torch.long, device=device)
    return torch.frombuffer(array("q", numbers), dtype=torch.long).to(device, non_blocking=True)


def table_of_integers(rows: Sequence[Sequence[int]], device: torch.device) -> torch.Tensor:
    """Return int64 [R, N] of R rows of one length."""
    return integers(list(chain.from_iterable(rows)), device).view(len(rows), -1)
