"""The processes of one lm-eval run: each answers a share of the documents, the first one collects.

torchrun --nproc-per-node 2 -m lm_eval --model planned_diffusion ...
"""

import os
from typing import Any

import torch
import torch.distributed as dist


class ProcessGroup:
    """The processes that a launcher such as torchrun started; without one, this process alone.

    The methods are those that lm-eval asks of a model.
    """

    def __init__(self) -> None:
        self.size = int(os.environ.get("WORLD_SIZE", "1"))
        if self.size > 1 and not dist.is_initialized():
            dist.init_process_group("gloo")  # objects and single numbers travel, on the CPU
        self.rank = dist.get_rank() if self.size > 1 else 0

    def device(self, wanted: str) -> str:
        """Return the device of this process: of several GPUs its own one.

        lm-eval asks for "cuda:0" where the user says nothing, so without any GPU that means "auto".
        """
        if not wanted.startswith("cuda"):
            return wanted
        if not torch.cuda.is_available():
            return "auto"
        return f"cuda:{os.environ.get('LOCAL_RANK', '0')}" if self.size > 1 else wanted

    def all_gather(self, tensor: torch.Tensor) -> torch.Tensor:
        """Return the single numbers of all processes, [P]; alone, the number."""
        if self.size == 1:
            return tensor
        found: list[Any] = [None] * self.size
        dist.all_gather_object(found, tensor.cpu())
        return torch.stack(found)

    def gather_object(self, value: Any, dst: int = 0) -> list[Any] | None:  # noqa: ANN401  # whatever lm-eval sends
        """Return the objects of all processes in the process `dst`, None in the others."""
        if self.size == 1:
            return [value]
        found = [None] * self.size if self.rank == dst else None
        dist.gather_object(value, found, dst=dst)
        return found

    def barrier(self) -> None:
        """Wait for the others."""
        if self.size > 1:
            dist.barrier()
