"""The one thread that runs the forwards of all served models: requests join and leave between two forwards.

Other threads give orders (`add`, `cancel`), which are carried out before the next forward. Events go to the `deliver`
function of their ticket, on this thread. An error that hits a whole forward (NaN, no memory) ends the requests of that
model with `Failed`, and the model goes on with a fresh engine.
"""

import threading
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from queue import Empty, SimpleQueue

import torch

from ...generation.decoders.table import DECODERS
from ...generation.engine.engine import Engine
from ...generation.events import Ended, Event, Failed
from ...generation.query import Request
from ..answer import Checkpoint
from .fair_queue import FairQueue

NAME = "planned-diffusion-engine"


@dataclass(eq=False)
class Ticket:
    """A request of a served model, and the function that gets its events, those of a forward together.

    Clients take turns: `client` says whose request it is.
    """

    model: str
    request: Request
    deliver: Callable[[list[Event]], object]
    client: str = ""


def client_of(ticket: Ticket) -> str:
    """Return whose request it is."""
    return ticket.client


class ModelEngine:
    """The engine of one model with the tickets that are in it. Used by the engine thread alone, but for its counts.

    Args:
        checkpoint: the model; it must be in evaluation mode.
        live: answers that share a forward; others wait, and clients take turns.

    Attributes:
        forwards: forwards that were run.
    """

    def __init__(self, checkpoint: Checkpoint, live: int) -> None:
        self.checkpoint, self.live = checkpoint, live
        self.forwards = 0
        self.engine = self._new_engine()
        self._waiting: FairQueue[Ticket] = FairQueue(client_of)
        self._tickets: dict[int, Ticket] = {}  # that run
        self._numbers: dict[Ticket, int] = {}

    def __len__(self) -> int:
        return len(self._tickets) + len(self._waiting)

    @property
    def slots(self) -> int:
        """Slots of the cache that hold a state of a request."""
        return sum(runner.slots.taken for runner in self.engine.runners)

    def add(self, ticket: Ticket) -> None:
        """Let a request join as soon as there is a place and it is its client's turn."""
        self._waiting.add(ticket)

    def _start(self, ticket: Ticket) -> None:
        """Let a request join at the next forward; one that cannot join fails alone."""
        request = ticket.request
        try:
            number = self.engine.add(DECODERS[request.settings.decoding].run(request), request.sampling)
        except Exception as error:  # it must not stop the thread, on which all others depend
            ticket.deliver([Failed(error)])
            return
        self._tickets[number], self._numbers[ticket] = ticket, number

    def cancel(self, ticket: Ticket) -> None:
        """Drop a request, if it has not ended; its slots are free at once."""
        number = self._numbers.pop(ticket, None)
        if number is None:
            self._waiting.remove(ticket)
        else:
            del self._tickets[number]
            self.engine.cancel(number)

    def tick(self) -> None:
        """Let waiting requests join, run one forward and deliver its events."""
        while len(self._waiting) and len(self._tickets) < self.live:
            self._start(self._waiting.take(Counter(map(client_of, self._tickets.values()))))
        if not self._tickets:  # none of them could join
            return
        events: dict[int, list[Event]] = {}
        self.forwards += 1
        try:
            for number, event in self.engine.tick():
                events.setdefault(number, []).append(event)
        except Exception as error:  # of the forward that all share: its cache may be spoiled
            self.engine = self._new_engine()
            events = {number: [Failed(error)] for number in self._tickets}
        for number, of_request in events.items():
            ticket = self._tickets[number]
            if isinstance(of_request[-1], (Ended, Failed)):
                del self._tickets[number], self._numbers[ticket]
            ticket.deliver(of_request)

    def _new_engine(self) -> Engine:
        return Engine(self.checkpoint.model, self.live, compile_config=self.checkpoint.compile_config)


class EngineThread:
    """The thread that runs the engines of all served models in turn.

    Args:
        checkpoints: by the name under which each is served.
        live: answers that share a forward, by the same names.
    """

    def __init__(self, checkpoints: Mapping[str, Checkpoint], live: Mapping[str, int]) -> None:
        self.engines = {name: ModelEngine(checkpoint, live[name]) for name, checkpoint in checkpoints.items()}
        self._orders: SimpleQueue[Callable[[], object]] = SimpleQueue()
        self._closing = False
        self._thread = threading.Thread(target=self._run, name=NAME, daemon=True)

    @property
    def is_alive(self) -> bool:
        """Whether requests are being run."""
        return self._thread.is_alive()

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def add(self, ticket: Ticket) -> None:
        """Let a request join at the next forward."""
        self._orders.put(partial(self.engines[ticket.model].add, ticket))

    def cancel(self, ticket: Ticket) -> None:
        """Drop a request before the next forward, if it has not ended; events on their way may still arrive."""
        self._orders.put(partial(self.engines[ticket.model].cancel, ticket))

    def close(self) -> None:
        """Stop after the running forward, and wait for that; requests that are left are dropped."""
        self._orders.put(self._stop)
        if self._thread.is_alive():
            self._thread.join()

    def _stop(self) -> None:
        self._closing = True

    @torch.no_grad()
    def _run(self) -> None:
        while not self._closing:
            self._follow_orders(wait=not any(map(len, self.engines.values())))
            for engine in self.engines.values():
                if len(engine) and not self._closing:
                    engine.tick()

    def _follow_orders(self, wait: bool) -> None:
        """Carry out the orders that have come; `wait` for one if there is none."""
        try:
            self._orders.get(block=wait)()
            while True:
                self._orders.get_nowait()()
        except Empty:
            return
