"""CPU only (with sdpa): requests that run a single row each, as a batch in which each attends to its own slots.

Text that is written left to right runs one token per request and forward:

    in one line   [1, 3]   a b c    each over the slots of all, and keys are repeated for the heads that share them
    as a batch    [3, 1]   a        each over its own slots, gathered layer by layer (slot_gathering.py) and padded;
                           b        heads that share keys are rows of one product, as transformers has it for a
                           c        single row per line

With 9 heads on 3 of keys, in bfloat16, attention over 64 slots each takes 93 us for 8 requests where one line takes
223, and 447 for 32 where it takes 2,691. Where heads share no keys, single rows are slow in a batch: they go in line,
or in segments (attention_cpu.py).
"""

from dataclasses import dataclass

import torch
from transformers import PreTrainedConfig

from ..visibility import Labels, additive_mask, dense_mask
from .packing import Packed
from .slot_gathering import SlotGathering
from .tensors import integers, table_of_integers

MOST_PADDING = 2.0  # slots of the batch, padding included, over those that the requests hold


@dataclass(frozen=True)
class SingleRows:
    """A forward of D requests with a row each.

    Attributes:
        slots: of each request, padded with its last one, int64 [D, K].
        held: how many are its own, int64 [D].
    """

    slots: torch.Tensor
    held: torch.Tensor

    def gathering(self) -> SlotGathering:
        """Return what the cache gathers in every layer."""
        return SlotGathering([self.slots])

    def mask(self, query: Labels, key: Labels, dtype: torch.dtype) -> torch.Tensor:
        """Return the additive mask [D, 1, 1, K] of labels [1, D] and [1, S]."""
        own = key.each(lambda label: label[0, self.slots])  # [D, K]
        visible = dense_mask(query.each(lambda label: label[0, :, None]), own)  # [D, 1, K]
        visible &= torch.arange(self.slots.shape[1], device=self.slots.device) < self.held[:, None, None]
        return additive_mask(visible[:, None], dtype)


def single_rows(packed: Packed, config: PreTrainedConfig, device: torch.device) -> SingleRows | None:
    """Return the batch that a forward can run as, where that is faster than one line; else None.

    Args:
        config: the backbone's.
    """
    if device.type != "cpu" or config._attn_implementation != "sdpa" or heads_per_key(config) == 1:
        return None
    segments = packed.segments
    if not 1 < len(segments) == len(packed):
        return None
    held = [len(segment.slots) for segment in segments]
    longest = max(held)
    if longest * len(held) > MOST_PADDING * sum(held):
        return None
    slots = [[*segment.slots] for segment in segments]
    padded = [own + own[-1:] * (longest - len(own)) for own in slots]
    return SingleRows(table_of_integers(padded, device), integers(held, device))


def heads_per_key(config: PreTrainedConfig) -> int:
    """Return how many heads of attention share the keys and values of one."""
    heads, of_keys = (getattr(config, name, None) for name in ("num_attention_heads", "num_key_value_heads"))
    return heads // of_keys if isinstance(heads, int) and isinstance(of_keys, int) else 1
