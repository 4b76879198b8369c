"""Clients take turns: none waits behind all that another has asked."""

from collections import Counter

import pytest
import torch

from planned_diffusion.generation.events import Ended
from planned_diffusion.inference.server.engine_thread import ModelEngine, Ticket
from planned_diffusion.inference.server.fair_queue import FairQueue


@pytest.fixture
def queue():
    """A queue of strings whose first letter is the client."""
    filled: FairQueue[str] = FairQueue(lambda request: request[0])
    for request in ("a1", "a2", "a3", "b1", "c1", "b2"):
        filled.add(request)
    return filled


def test_clients_take_turns(queue):
    taken = [queue.take(Counter()) for _ in range(len(queue))]
    assert taken == ["a1", "b1", "c1", "a2", "b2", "a3"] and len(queue) == 0
    with pytest.raises(LookupError):
        queue.take(Counter())


def test_who_has_least_running_is_next(queue):
    assert queue.take(Counter(a=2, b=1)) == "c1"
    assert queue.take(Counter(a=2, b=1, c=1)) == "b1"
    assert queue.take(Counter(a=0, b=2)) == "a1"


def test_a_request_that_left_is_not_taken(queue):
    assert queue.remove("a1") and not queue.remove("a1") and not queue.remove("z9")
    assert queue.remove("c1") and len(queue) == 4
    assert [queue.take(Counter()) for _ in range(4)] == ["a2", "b1", "a3", "b2"]


@torch.no_grad()
def test_a_newcomer_does_not_wait_for_all_of_another(tiny):
    """Twelve requests of one client stand before the one of another, which is answered third at the latest."""
    engine, ended = ModelEngine(tiny, live=2), []
    request = tiny.request("abc", {"max_new_tokens": 6, "decoding": "autoregressive"})

    def ticket(name, client):
        return Ticket("tiny", request, lambda events: ended.extend([name] * isinstance(events[-1], Ended)), client)

    for index in range(12):
        engine.add(ticket(f"many {index}", "a"))
    engine.add(late := ticket("late", "b"))
    left = ticket("left", "b")
    engine.add(left)
    engine.cancel(left)
    assert len(engine) == 13
    while len(engine):
        engine.tick()
    assert ended.index("late") <= 2 and len(ended) == 13 and "left" not in ended
    engine.cancel(late)  # of one that has ended
    assert engine.slots == 0
