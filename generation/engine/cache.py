"""The key/value cache: one buffer of slots per layer, shared by all requests.

A token of any request may lie in any slot; the labels of the slots (visibility.py) keep requests apart, so nothing is
ever moved, padded or aligned, and running a position again overwrites its slot in place.
"""

import heapq

import torch
from transformers.cache_utils import Cache

from ..visibility import NO_DOCUMENT, Labels
from .tensors import integers

SLOTS_PER_BUCKET = 64  # attention reads whole buckets, so that its shapes repeat


class SlotCache(Cache):
    """A transformers `Cache` whose `update` scatters into given slots and returns every slot in use.

    Args:
        for_graphs: compiled forwards will write into the buffers, and may record where in memory these lie.

    Attributes:
        labels: what lies in each slot, int64 [S] each; empty slots belong to no document, so nothing sees them.
        used: slots that attention reads, a multiple of SLOTS_PER_BUCKET.
        built: the buffers exist, since a forward has run.
    """

    def __init__(self, device, capacity: int = 4 * SLOTS_PER_BUCKET, for_graphs: bool = False):
        super().__init__(layers=[])
        self._for_graphs = for_graphs
        self._buffers: list[tuple[torch.Tensor, torch.Tensor]] = []  # per layer: keys, values [1, heads, S, head size]
        self._labels = torch.full((5, capacity), NO_DOCUMENT, device=device)
        self._free: set[int] = set()  # slots below `_fresh` that were given back
        self._fresh = 0  # no slot from here on is taken
        self._slots: torch.Tensor | None = None
        self._read = 0  # slots that the running forward reads

    @property
    def used(self) -> int:
        return -(-self._fresh // SLOTS_PER_BUCKET) * SLOTS_PER_BUCKET

    @property
    def built(self) -> bool:
        return bool(self._buffers)

    @property
    def labels(self) -> Labels:
        return Labels(*self._labels[:, : self.used])

    @property
    def taken(self) -> int:
        """Slots that belong to a request."""
        return self._fresh - len(self._free)

    def allocate(self, count: int) -> list[int]:
        """Takes `count` slots, the lowest ones that are free."""
        slots = heapq.nsmallest(count, self._free)
        self._free.difference_update(slots)
        more = count - len(slots)
        slots += range(self._fresh, self._fresh + more)
        self._fresh += more
        if self.used > self._labels.shape[1]:
            self._grow(max(self.used, 2 * self._labels.shape[1]))
        return slots

    def release(self, slots: list[int]) -> None:
        """Gives slots back; they are invisible from now on."""
        self._labels[0, integers(slots, self._labels.device)] = NO_DOCUMENT
        self._free.update(slots)
        while self._fresh and self._fresh - 1 in self._free:
            self._fresh -= 1
            self._free.remove(self._fresh)

    def write_to(self, slots: torch.Tensor, labels: torch.Tensor) -> None:
        """Says where the next forward writes: slots int64 [N], and what will lie there, int64 [5, N]."""
        self._slots, self._read = slots, self.used
        self._labels.index_copy_(1, slots, labels)

    def copy(self, source: list[int], target: list[int], document: int) -> None:
        """Copies states, in all layers, into slots of another document."""
        source, target = (integers(slots, self._labels.device) for slots in (source, target))
        for states in (self._labels, *(part[0] for pair in self._buffers for part in pair)):
            states.index_copy_(1, target, states[:, source])
        self._labels[0, target] = document

    def clear(self) -> None:
        """Forgets everything; buffers stay where they are."""
        self._labels.fill_(NO_DOCUMENT)
        for buffer in (part for pair in self._buffers for part in pair):
            buffer.zero_()
        self._free, self._fresh = set(), 0

    def _grow(self, capacity: int) -> None:
        def longer(buffer: torch.Tensor, dim: int, value: int) -> torch.Tensor:
            shape = list(buffer.shape)
            shape[dim] = capacity
            return buffer.new_full(shape, value).index_copy_(
                dim, torch.arange(buffer.shape[dim], device=buffer.device), buffer
            )

        self._labels = longer(self._labels, 1, NO_DOCUMENT)
        self._buffers = [(longer(keys, 2, 0), longer(values, 2, 0)) for keys, values in self._buffers]
        self._stay()

    def _stay(self) -> None:
        """Tells the compiler, if there is one, that the buffers stay where they are."""
        if self._for_graphs:
            for buffer in (part for pair in self._buffers for part in pair):
                torch._dynamo.mark_static_address(buffer)

    # What transformers' decoders ask of a cache.

    def update(self, key_states, value_states, layer_idx, *args, **kwargs):
        """Keys and values [1, heads, N, head size] of the running tokens into their slots; returns all slots in use."""
        if layer_idx == len(self._buffers):
            # Zeros, not garbage: an invisible value is multiplied by zero, and zero times NaN is NaN.
            self._buffers.append(
                tuple(
                    states.new_zeros(1, states.shape[1], self._labels.shape[1], states.shape[3])
                    for states in (key_states, value_states)
                )
            )
            self._stay()
        keys, values = self._buffers[layer_idx]
        keys.index_copy_(2, self._slots, key_states)
        values.index_copy_(2, self._slots, value_states)
        return keys[:, :, : self._read], values[:, :, : self._read]

    def get_seq_length(self, layer_idx: int = 0) -> int:
        return 0  # positions are always given

    def get_mask_sizes(self, query_length: int, layer_idx: int = 0) -> tuple[int, int]:
        return self.used, 0

    def get_max_cache_shape(self, layer_idx: int = 0) -> int:
        return -1
