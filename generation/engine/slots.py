"""Which slot of the cache holds which state: the bookkeeping of one model's cache, in Python numbers.

A token has a state in every stream that it runs in (visibility.py), so a state is named (stream, position). Running a
state again overwrites its slot. Slots are taken from the bottom, because attention reads all slots up to the highest.
"""

import heapq
from collections.abc import Collection, Iterable

from ..visibility import CLEAN, DRAFT
from .cache import SlotCache

State = tuple[int, int]  # (stream, position)

SLOTS_PER_BUCKET = 64  # attention reads whole buckets, so that its shapes repeat


class SlotTable:
    """The slots of every request, by document, in one cache.

    Attributes:
        cache: follows: it has room for every slot in use, and the labels of free slots belong to no document.
    """

    def __init__(self, cache: SlotCache) -> None:
        self.cache = cache
        self._of: dict[int, dict[State, int]] = {}  # document -> state -> slot
        self._free: set[int] = set()  # slots below `_top` that were given back
        self._top = 0  # every slot from here on is free

    @property
    def used(self) -> int:
        """Slots that attention reads, a multiple of SLOTS_PER_BUCKET."""
        return -(-self._top // SLOTS_PER_BUCKET) * SLOTS_PER_BUCKET

    @property
    def taken(self) -> int:
        """Slots that hold a state of a request."""
        return self._top - len(self._free)

    def held_by(self, document: int) -> Collection[int]:
        """Return all slots of a request, as a live view."""
        return self._of[document].values()

    def place(self, document: int, streams: Iterable[int], positions: Iterable[int]) -> list[int]:
        """Return the slots of states; those that were never run get the lowest free ones."""
        states = list(zip(streams, positions, strict=True))
        held = self._of.setdefault(document, {})
        try:  # a denoising step runs tokens that have slots: no Python loop over them
            return list(map(held.__getitem__, states))
        except KeyError:
            missing = [state for state in states if state not in held]
        held |= zip(missing, self._take(len(missing)), strict=True)
        return list(map(held.__getitem__, states))

    def copy_prefix(self, donor: int, document: int, count: int) -> None:
        """Copy a donor's states of the first `count` positions to a request that begins alike."""
        held = self._of[donor]
        source = [held[CLEAN, position] for position in range(count)]
        self.cache.copy(source, self.place(document, [CLEAN] * count, range(count)), document)

    def drop(self, document: int, positions: Iterable[int]) -> None:
        """Free the slots of positions whose tokens were taken back, in the CLEAN stream."""
        held = self._of[document]
        self._give_back([held.pop((CLEAN, position)) for position in positions])

    def drop_drafts(self, document: int, streams: Iterable[int], positions: Iterable[int], erase: bool = False) -> None:
        """Free the slots of those states that are drafts: nothing reads them after the forward that ran them.

        Args:
            erase: they are no numbers, and not even to be multiplied by zero.
        """
        held = self._of[document]
        drafts = [state for state in zip(streams, positions, strict=True) if state[0] >= DRAFT]
        self._give_back([held.pop(state) for state in drafts], erase)

    def release(self, document: int) -> None:
        """Free all slots of a request."""
        self._give_back(list(self._of.pop(document, {}).values()))

    def _take(self, count: int) -> list[int]:
        slots = heapq.nsmallest(count, self._free)
        self._free.difference_update(slots)
        more = count - len(slots)
        slots += range(self._top, self._top + more)
        self._top += more
        self.cache.reserve(self.used)
        return slots

    def _give_back(self, slots: list[int], erase: bool = False) -> None:
        self.cache.hide(slots, erase)
        self._free.update(slots)
        while self._top and self._top - 1 in self._free:
            self._top -= 1
            self._free.remove(self._top)
