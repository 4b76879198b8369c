"""Hundreds of requests through one engine, some of them cancelled: no slot is lost, and memory stays flat."""

import gc
from random import Random

import pytest
import torch

from planned_diffusion.generation.decoders.autoregressive import autoregressive
from planned_diffusion.generation.decoders.planned import planned
from planned_diffusion.generation.engine.engine import Engine
from planned_diffusion.generation.engine.slots import SLOTS_PER_BUCKET
from planned_diffusion.generation.events import Ended
from planned_diffusion.generation.fields import Settings
from planned_diffusion.generation.plan import Unit
from planned_diffusion.generation.query import Request, Sampling

REQUESTS = 500
WARM_UP = 100
AT_ONCE = 8
LONGEST_PROMPT = 12
MAX_NEW_TOKENS = 24


def live_objects() -> tuple[int, int]:
    """Python objects that the collector knows, and elements of all tensors among them."""
    gc.collect()
    objects = gc.get_objects()
    return len(objects), sum(thing.numel() for thing in objects if type(thing) is torch.Tensor)


@pytest.mark.slow
@torch.no_grad()
def test_hundreds_of_requests_leave_nothing_behind(planner, golden_tokens, prompts):
    chance, engine = Random(0), Engine(planner, live_requests=AT_ONCE)
    settings = Settings(max_new_tokens=MAX_NEW_TOKENS, max_spans=2, suppress_in_spans=golden_tokens.all)
    waiting, ended, cancelled, live, most, after = prompts(REQUESTS, LONGEST_PROMPT, seed=1), 0, 0, set(), [], []
    while waiting or live:
        while waiting and len(live) < 2 * AT_ONCE:  # half of them wait in the engine
            decoder = planned if chance.random() < 0.5 else autoregressive
            sampling = Sampling(temperature=chance.choice((0.0, 0.7)), seed=len(waiting))
            request = Request(tuple(waiting.pop()), golden_tokens, Unit(2.0), settings, sampling)
            live.add(engine.add(decoder(request), sampling))
        for number, event in engine.tick():
            if isinstance(event, Ended):
                live.remove(number)
                ended += 1
                if (ended + cancelled) % WARM_UP == 0:
                    after.append(live_objects())
        most.append(engine.runners[0].slots.used)
        if live and chance.random() < 0.1:
            victim = chance.choice(sorted(live))  # live or waiting
            engine.cancel(victim)
            live.remove(victim)
            cancelled += 1
    assert ended + cancelled == REQUESTS and cancelled > REQUESTS // 20
    assert engine.runners[0].slots.taken == engine.runners[0].slots.used == 0
    assert max(most) < AT_ONCE * (LONGEST_PROMPT + MAX_NEW_TOKENS) + SLOTS_PER_BUCKET  # freed slots are used again
    objects, elements = zip(*after, strict=True)
    assert len(after) > 2
    assert max(objects[1:]) < 1.01 * objects[0], objects
    assert max(elements[1:]) <= elements[0] + 10_000, elements
