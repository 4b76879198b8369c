"""The answers to one HTTP request on their way: admitted or refused, followed while they are written, dropped."""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from math import ceil
from typing import TypeVar

from ...generation.events import Event
from .engine_thread import EngineThread, Ticket
from .limits import Limits
from .refusals import RefusalError
from .served_models import ServedModel
from .server_metrics import Metrics
from .written_answer import WrittenAnswer

Result = TypeVar("Result")
REMEMBERED = 50  # answers whose seconds say how long others wait
LONGEST_WAIT = 60  # seconds that a client is told to wait, at most


class Exchange:
    """The answers to one HTTP request. Used on the event loop's thread.

    Args:
        answers: that are being written, in the order of the choices.
        admission: holds their places.
        client: whose they are; clients take turns.
    """

    def __init__(self, answers: Sequence[WrittenAnswer], admission: "Admission", client: str = "") -> None:
        self.answers, self.admission = answers, admission
        self.started = time.monotonic()
        self.deadline = self.started + admission.limits.answer_seconds
        self._changed = asyncio.Event()
        self._only_the_end = False  # nobody asks for what comes before
        self._loop = asyncio.get_running_loop()
        self._tickets = {
            Ticket(answer.model.name, answer.request, partial(self._deliver, answer), client): answer
            for answer in answers
        }
        for ticket in self._tickets:
            admission.engine.add(ticket)

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

    def close(self) -> None:
        """Drop the answers that have not ended; the second call does nothing."""
        for ticket, answer in self._tickets.items():
            if not answer.is_over:
                self.admission.engine.cancel(ticket)
                self.admission.leave(answer, self.started, dropped=True)
        self._tickets.clear()

    def _deliver(self, answer: WrittenAnswer, events: list[Event]) -> None:
        """Hand events from the engine's thread to the event loop's."""
        with suppress(RuntimeError):  # the loop has ended, so nobody listens
            self._loop.call_soon_threadsafe(self._take, answer, events)

    def _take(self, answer: WrittenAnswer, events: list[Event]) -> None:
        if not self._tickets:  # closed; the engine had not heard of it yet
            return
        if answer.is_over:
            return
        try:
            answer.add(events)
        except Exception as error:  # nobody else would hear of it, and the client would wait
            answer.error = error
            for ticket in [ticket for ticket, other in self._tickets.items() if other is answer]:
                self.admission.engine.cancel(ticket)
        if answer.is_over:
            self.admission.leave(answer, self.started)
        if answer.is_over or (answer.has_news and not self._only_the_end):
            self._changed.set()


@dataclass(eq=False)
class Admission:
    """The door of the engine: so many answers at a time, the others are refused with the time to wait.

    places: answers of each model that may run or wait.
    taken: places that are taken, by model.
    """

    engine: EngineThread
    limits: Limits
    metrics: Metrics
    places: Mapping[str, int]
    taken: dict[str, int] = field(default_factory=dict)
    _seconds: deque[float] = field(default_factory=lambda: deque(maxlen=REMEMBERED), init=False)
    _preparing: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1, "preparing"), init=False)

    async def prepared(self, function: Callable[[], Result]) -> Result:
        """Run a function on the one thread that encodes prompts, in the order of the calls."""
        return await asyncio.get_running_loop().run_in_executor(self._preparing, function)

    async def open(
        self, model: ServedModel, count: int, make: Callable[[], list[WrittenAnswer]], client: str = ""
    ) -> Exchange:
        """Admit a request for `count` answers and start them.

        Args:
            client: who asks; clients take turns.
            make: returns the answers with their requests; called on the thread that encodes prompts.

        Raises:
            RefusalError: no place is free, the server is going down, or whatever `make` raises.
        """
        if not self.engine.is_alive:
            raise RefusalError("The server is not running any more; try again later.", 503, kind="server_error")
        self._take_places(model.name, count)
        try:
            return Exchange(await self.prepared(make), self, client)
        except BaseException:
            self.taken[model.name] -= count
            raise

    def leave(self, answer: WrittenAnswer, started: float, dropped: bool = False) -> None:
        """Give an answer's place back."""
        self.taken[answer.model.name] -= 1
        self.metrics.count_answer(answer, started, dropped)
        if not dropped:
            self._seconds.append(time.monotonic() - started)

    def close(self) -> None:
        """Stop encoding and running; answers that are left are dropped."""
        self._preparing.shutdown(wait=True, cancel_futures=True)
        self.engine.close()

    def _take_places(self, name: str, count: int) -> None:
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
