"""Slow a live view down to what an eye can follow, while the model goes on at its own speed."""

import math
import time
from queue import SimpleQueue
from threading import Event as Flag
from threading import Thread
from typing import Self

from ..generation.events import Event, Forward
from ..inference.answer import Answer
from .terminal import LiveView

DEFAULT_SPEED = 8.0  # forwards per second
MOST_BEHIND = 5.0  # seconds by which a view may fall behind the model, unless a speed was asked for


def paced(view: LiveView, speed: float | None) -> "LiveView | PacedView":
    """Return a view that shows at most so many forwards per second; 0 takes them as they come.

    Args:
        speed: forwards per second; by default 8, and never more than 5 seconds behind the model.
    """
    if speed is None:
        return PacedView(view, 1 / DEFAULT_SPEED, MOST_BEHIND)
    return PacedView(view, 1 / speed, math.inf) if speed else view


class PacedView:
    """A live view that a thread of its own feeds, so that it may fall behind the model; a context manager.

    Args:
        view: the view that is fed.
        seconds_per_forward: least time between two forwards.
        most_behind: seconds; a view that is further behind waits no longer.
    """

    def __init__(self, view: LiveView, seconds_per_forward: float, most_behind: float) -> None:
        self.view, self.seconds_per_forward, self.most_behind = view, seconds_per_forward, most_behind
        self._events: SimpleQueue[tuple[float, Event | None]] = SimpleQueue()  # with their times; None at the end
        self._left = Flag()  # nobody looks any more
        self._error: Exception | None = None
        self._thread = Thread(target=self._feed, daemon=True)

    def __enter__(self) -> Self:
        self.view.__enter__()
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._left.set()
        self._join()
        self.view.__exit__(*error)

    def add(self, index: int, event: Event) -> None:
        """Take an event in, to be shown when its time has come."""
        self._events.put((time.monotonic(), event))

    def finish(self, answer: Answer) -> None:
        """Wait until everything has been shown, and end the view."""
        self._join()
        if self._error is not None:
            raise self._error
        self.view.finish(answer)

    def _join(self) -> None:
        self._events.put((0.0, None))
        self._thread.join()

    def _feed(self) -> None:
        try:
            while not self._left.is_set():
                at, event = self._events.get()
                if event is None:
                    return
                if isinstance(event, Forward) and time.monotonic() - at < self.most_behind:
                    self.view.draw(self.view.drawing.frame(self.view.console))
                    self._left.wait(self.seconds_per_forward)
                self.view.add(0, event)
        except Exception as error:  # raised where the view ends
            self._error = error
