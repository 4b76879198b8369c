"""The answers to one HTTP request on their way: admitted or refused, followed while they are written, dropped."""

import asyncio
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

from ...generation.events import Event
from .engine_thread import EngineThread, Ticket
from .followed import Followed
from .limits import Limits
from .places import Places
from .refusals import RefusalError
from .served_models import ServedModel
from .server_metrics import Metrics
from .written_answer import WrittenAnswer

Result = TypeVar("Result")


class Exchange(Followed[WrittenAnswer]):
    """The answers of the engine to one HTTP request.

    Args:
        answers: that are being written, in the order of the choices.
        admission: holds their places.
        client: whose they are; clients take turns.
    """

    def __init__(self, answers: Sequence[WrittenAnswer], admission: "Admission", client: str = "") -> None:
        super().__init__(answers, admission.limits)
        self.admission = admission
        self._loop = asyncio.get_running_loop()
        self._tickets = {
            Ticket(answer.model.name, answer.request, partial(self._deliver, answer), client): answer
            for answer in answers
        }
        for ticket in self._tickets:
            admission.engine.add(ticket)

    def close(self) -> None:
        """Drop the answers that have not ended; the second call does nothing."""
        for ticket, answer in self._tickets.items():
            if not answer.is_over:
                self.admission.engine.cancel(ticket)
                self.admission.leave(answer, self.started, dropped=True)
        self._tickets.clear()

    async def drop(self) -> None:
        """Drop them, as `close` does."""
        self.close()

    def _deliver(self, answer: WrittenAnswer, events: list[Event]) -> None:
        """Hand events from the engine's thread to the event loop's."""
        with suppress(RuntimeError):  # the loop has ended, so nobody listens
            self._loop.call_soon_threadsafe(self._take, answer, events, time.monotonic())

    def _take(self, answer: WrittenAnswer, events: list[Event], at: float) -> None:
        if not self._tickets:  # closed; the engine had not heard of it yet
            return
        if answer.is_over:
            return
        try:
            answer.add(events, at)
        except Exception as error:  # nobody else would hear of it, and the client would wait
            answer.error = error
            for ticket in [ticket for ticket, other in self._tickets.items() if other is answer]:
                self.admission.engine.cancel(ticket)
        if answer.is_over:
            self.admission.leave(answer, self.started)
        self.tell(answer.is_over or answer.has_news)


@dataclass(eq=False)
class Admission:
    """The door of the engine: so many answers at a time, the others are refused with the time to wait."""

    engine: EngineThread
    limits: Limits
    metrics: Metrics
    places: Places
    _preparing: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1, "preparing"), init=False)

    @property
    def taken(self) -> dict[str, int]:
        """Places that are taken, by model."""
        return self.places.taken

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
        self.places.take(model.name, count)
        try:
            return Exchange(await self.prepared(make), self, client)
        except BaseException:
            self.places.leave(model.name, count)
            raise

    def leave(self, answer: WrittenAnswer, started: float, dropped: bool = False) -> None:
        """Give an answer's place back."""
        self.places.leave(answer.model.name)
        self.metrics.count_answer(answer, started, dropped)
        if not dropped:
            self.places.remember(started)

    def close(self) -> None:
        """Stop encoding and running; answers that are left are dropped."""
        self._preparing.shutdown(wait=True, cancel_futures=True)
        self.engine.close()
