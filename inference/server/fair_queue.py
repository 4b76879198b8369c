"""Requests that wait for a place in the engine, in fair turns: no client waits behind all that another has asked."""

from collections import Counter, deque
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

Waiting = TypeVar("Waiting", bound=Hashable)


class FairQueue(Generic[Waiting]):
    """A queue in which every client has a turn.

    Args:
        client_of: names the client of a request.
    """

    def __init__(self, client_of: Callable[[Waiting], str]) -> None:
        self.client_of = client_of
        self._lines: dict[str, deque[Waiting]] = {}  # by client, the longest waiting first

    def __len__(self) -> int:
        return sum(map(len, self._lines.values()))

    def add(self, request: Waiting) -> None:
        """Put a request behind those of its client."""
        self._lines.setdefault(self.client_of(request), deque()).append(request)

    def remove(self, request: Waiting) -> bool:
        """Take a request out; return whether it waited."""
        client = self.client_of(request)
        if request not in self._lines.get(client, ()):
            return False
        self._lines[client].remove(request)
        if not self._lines[client]:
            del self._lines[client]
        return True

    def take(self, running: Counter[str]) -> Waiting:
        """Take the next request: of the client with the fewest running ones; among equals, whose turn is longest ago.

        Raises:
            LookupError: nothing waits.
        """
        if not self._lines:
            raise LookupError("Nothing waits.")
        client = min(self._lines, key=lambda name: running[name])
        line = self._lines.pop(client)
        request = line.popleft()
        if line:
            self._lines[client] = line  # behind the other clients
        return request
