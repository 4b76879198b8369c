"""The key/value cache: one buffer of slots per layer, shared by all requests.

A token of any request may lie in any slot; the labels of the slots (visibility.py) keep requests apart, so nothing is
ever moved, padded or aligned, and running a position again overwrites its slot in place. slots.py says who has which.
"""

from itertools import chain

import torch
from transformers.cache_utils import Cache

from ..visibility import NO_DOCUMENT, Labels
from .slot_gathering import SlotGathering
from .tensors import integers

Buffers = tuple[torch.Tensor, torch.Tensor]  # a layer's keys and values, [1, heads, S, head size] each


class SlotCache(Cache):
    """A transformers `Cache` whose `update` scatters into given slots and returns every slot in use.

    Args:
        for_graphs: compiled forwards will write into the buffers, and may record where in memory these lie.

    Attributes:
        used: slots that the running forward reads, all from the first on.
        labels: of the slots in use, int64 [used] each; empty slots belong to no document, so nothing sees them.
        built: the buffers exist, since a forward has run.
    """

    def __init__(self, device: torch.device, capacity: int = 256, for_graphs: bool = False) -> None:
        super().__init__(layers=[])
        self.used = 0
        self._for_graphs = for_graphs
        self._buffers: list[Buffers] = []
        self._labels = torch.full((5, capacity), NO_DOCUMENT, device=device)
        self._slots = torch.empty(0, dtype=torch.long, device=device)  # where the running forward writes
        self._gathering: SlotGathering | None = None  # the running forward reads these slots; None: all in use

    @property
    def built(self) -> bool:
        return bool(self._buffers)

    @property
    def labels(self) -> Labels:
        return Labels(*self._labels[:, : self.used])

    def reserve(self, count: int) -> None:
        """Make room for slots below `count`. Buffers at least double, so that growing is rare."""
        if count <= self._labels.shape[1]:
            return
        capacity = max(count, 2 * self._labels.shape[1])
        self._labels = _longer(self._labels, 1, capacity, NO_DOCUMENT)
        self._buffers = [(_longer(keys, 2, capacity), _longer(values, 2, capacity)) for keys, values in self._buffers]
        if self._for_graphs:
            _pin(self._buffers)

    def write_to(
        self, slots: torch.Tensor, labels: torch.Tensor, used: int, gathering: SlotGathering | None = None
    ) -> None:
        """Set where the next forward writes, slots int64 [N], their new labels, int64 [5, N], and how many it reads.

        Args:
            gathering: of a forward with one row in each of N lines: slots that each of them reads.
        """
        self._slots, self.used, self._gathering = slots, used, gathering
        self._labels.index_copy_(1, slots, labels)

    def hide(self, slots: list[int], erase: bool = False) -> None:
        """Make slots invisible that were given back. Their contents stay until they are overwritten.

        Args:
            erase: set them to zero at once.
        """
        numbers = integers(slots, self._labels.device)
        self._labels[0, numbers] = NO_DOCUMENT
        for buffer in chain.from_iterable(self._buffers) if erase else ():
            buffer.index_fill_(2, numbers, 0)

    def copy(self, source: list[int], target: list[int], document: int) -> None:
        """Copy states, in all layers, into slots of another document."""
        from_slots, to_slots = (integers(slots, self._labels.device) for slots in (source, target))
        for states in (self._labels, *(buffer[0] for buffer in chain.from_iterable(self._buffers))):
            states.index_copy_(1, to_slots, states[:, from_slots])
        self._labels[0, to_slots] = document

    def clear(self) -> None:
        """Empty every slot; buffers stay where they are in memory."""
        self.used = 0
        self._labels.fill_(NO_DOCUMENT)
        for buffer in chain.from_iterable(self._buffers):
            buffer.zero_()

    # The methods that transformers' models call.

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, layer_idx: int, *args: object, **kwargs: object
    ) -> Buffers:
        """Write keys and values [1, heads, N, head size] of the running tokens; return those of all slots in use.

        With a gathering of K slots each, [N, heads, 1, head size] come in and [N, heads, K, head size] are returned.
        """
        if self._gathering is not None:
            key_states, value_states = key_states.transpose(0, 2), value_states.transpose(0, 2)
        if layer_idx == len(self._buffers):
            capacity = self._labels.shape[1]
            # Zeros, not garbage: an invisible value is multiplied by zero, and zero times NaN is NaN.
            keys, values = (
                states.new_zeros(1, states.shape[1], capacity, states.shape[3]) for states in (key_states, value_states)
            )
            self._buffers.append((keys, values))
            if self._for_graphs:
                _pin([(keys, values)])
        keys, values = self._buffers[layer_idx]
        keys.index_copy_(2, self._slots, key_states)
        values.index_copy_(2, self._slots, value_states)
        if self._gathering is not None:
            return self._gathering.states(keys)[0], self._gathering.states(values)[0]
        return keys[:, :, : self.used], values[:, :, : self.used]

    def get_seq_length(self, layer_idx: int = 0) -> int:
        return 0  # positions are always given

    def get_mask_sizes(self, query_length: int, layer_idx: int = 0) -> tuple[int, int]:
        return self.used, 0

    def get_max_cache_shape(self, layer_idx: int = 0) -> int:
        return -1


def _longer(buffer: torch.Tensor, dim: int, size: int, fill: int = 0) -> torch.Tensor:
    """Copy a buffer into one of another size in one dimension."""
    shape = [*buffer.shape]
    shape[dim] = size
    old = torch.arange(buffer.shape[dim], device=buffer.device)
    return buffer.new_full(shape, fill).index_copy_(dim, old, buffer)


def _pin(buffers: list[Buffers]) -> None:
    """Promise the compiler that buffers stay where they are: a CUDA graph records their addresses."""
    for buffer in chain.from_iterable(buffers):
        torch._dynamo.mark_static_address(buffer)
