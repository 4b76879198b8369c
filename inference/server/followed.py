"""Answers that are followed while they are written: by whoever waits for the end, or tells a client what is new."""

import asyncio
import time
from collections.abc import Sequence
from typing import Generic, Protocol, TypeVar

from .limits import Limits
from .responses import ToldAnswer


class WrittenSomehow(ToldAnswer, Protocol):
    """An answer of which one knows whether it has ended, failed, or grown."""

    @property
    def is_over(self) -> bool:
        """Whether nothing more will come."""
        ...

    @property
    def error(self) -> Exception | None:
        """The error with which it failed."""
        ...


Answer = TypeVar("Answer", bound=WrittenSomehow)


class Followed(Generic[Answer]):
    """The answers to one HTTP request. Used on the event loop's thread.

    Args:
        answers: that are being written, in the order of the choices.
        limits: say when they must have ended.
    """

    def __init__(self, answers: Sequence[Answer], limits: Limits) -> None:
        self.answers, self.limits = answers, limits
        self.started = time.monotonic()
        self.deadline = self.started + limits.answer_seconds
        self._changed = asyncio.Event()
        self._only_the_end = False  # nobody asks for what comes before

    @property
    def is_over(self) -> bool:
        """Whether every answer has ended, or one has failed."""
        return all(answer.is_over for answer in self.answers) or self.error is not None

    @property
    def error(self) -> Exception | None:
        """The error of the first answer that has failed."""
        return next((answer.error for answer in self.answers if answer.error is not None), None)

    @property
    def seconds_left(self) -> float:
        """Time until the answers must have ended."""
        return self.deadline - time.monotonic()

    async def change(self, seconds: float) -> bool:
        """Wait until there is something to tell, or an end; return False if there was nothing for so long."""
        try:
            async with asyncio.timeout(max(0.0, seconds)):
                await self._changed.wait()
        except TimeoutError:
            return False
        self._changed.clear()
        return True

    async def finish(self) -> bool:
        """Wait until all is over; return False where the time is up."""
        self._only_the_end = True
        while not self.is_over:
            if not await self.change(self.seconds_left) and self.seconds_left <= 0:
                return False
        return True

    def tell(self, has_news: bool) -> None:
        """Wake whoever waits: something has ended, or there is news."""
        if self.is_over or (has_news and not self._only_the_end):
            self._changed.set()
