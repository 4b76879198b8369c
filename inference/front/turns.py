"""Turns at another engine: so many requests run at a time, and no client waits behind all that another has asked."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from ..server.fair_queue import FairQueue


@dataclass(eq=False)
class _Waiter:
    client: str
    turn: asyncio.Future[None] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


def _client_of(waiter: _Waiter) -> str:
    return waiter.client


class Turns:
    """Places for requests that run at the same time. Used on the event loop's thread.

    Args:
        places: requests that may run; others wait, and clients take turns.
    """

    def __init__(self, places: int) -> None:
        self.places = places
        self.running: Counter[str] = Counter()  # by client
        self._waiting: FairQueue[_Waiter] = FairQueue(_client_of)

    def __len__(self) -> int:
        """Return how many requests wait."""
        return len(self._waiting)

    @asynccontextmanager
    async def turn(self, client: str) -> AsyncIterator[None]:
        """Hold a place, once it is the client's turn."""
        if self.running.total() >= self.places:
            await self._wait(_Waiter(client))
        else:
            self.running[client] += 1
        try:
            yield
        finally:
            self._leave(client)

    async def _wait(self, waiter: _Waiter) -> None:
        self._waiting.add(waiter)
        try:
            await waiter.turn
        except asyncio.CancelledError:
            if not self._waiting.remove(waiter):  # it had got a place, which another one may have
                self._leave(waiter.client)
            raise

    def _leave(self, client: str) -> None:
        """Give a place back, to the next one if any waits."""
        self.running -= Counter([client])
        if len(self._waiting):
            next_one = self._waiting.take(self.running)
            self.running[next_one.client] += 1
            next_one.turn.set_result(None)
