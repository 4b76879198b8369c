"""Places for answers: so many may run or wait at a time, others are refused with the time to wait."""

import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import ceil

from .limits import Limits
from .refusals import RefusalError

REMEMBERED = 50  # answers whose seconds say how long others wait
LONGEST_WAIT = 60  # seconds that a client is told to wait, at most


@dataclass(eq=False)
class Places:
    """The places of each model.

    places: answers of each model that may run or wait.
    taken: places that are taken, by model.
    """

    limits: Limits
    places: Mapping[str, int]
    taken: dict[str, int] = field(default_factory=dict)
    _seconds: deque[float] = field(default_factory=lambda: deque(maxlen=REMEMBERED), init=False)

    def leave(self, name: str, count: int = 1) -> None:
        """Give places back."""
        self.taken[name] -= count

    def remember(self, started: float) -> None:
        """Take in that an answer has ended that began at a time of `time.monotonic`."""
        self._seconds.append(time.monotonic() - started)

    def take(self, name: str, count: int) -> None:
        """Take places for answers of one request.

        Raises:
            RefusalError: more than one request may have, or than are free.
        """
        if count > self.limits.choices:
            raise RefusalError(
                f"The request asks for {count} answers, and this server gives {self.limits.choices} at most; lower n.",
                param="n",
            )
        taken = self.taken.get(name, 0)
        if taken + count > self.places[name]:
            wait = self._seconds_to_wait(name)
            raise RefusalError(
                f"The server is busy: {taken} answers are being written or wait; try again in {wait} seconds.",
                429,
                code="rate_limit_exceeded",
                kind="rate_limit_error",
                headers={"Retry-After": str(wait)},
            )
        self.taken[name] = taken + count

    def _seconds_to_wait(self, name: str) -> int:
        """Return how long a place will take to become free: an answer's mean time, by those that end meanwhile."""
        mean = sum(self._seconds) / len(self._seconds) if self._seconds else 1.0
        return max(1, min(LONGEST_WAIT, ceil(mean * 2 / max(1, self.taken.get(name, 0)))))
