"""Prompts that begin alike run their beginning once, and nobody's answer changes by it."""

import pytest
import torch

from planned_diffusion.generation.decoders.autoregressive import autoregressive
from planned_diffusion.generation.decoders.diffusion import diffusion
from planned_diffusion.generation.decoders.planned import planned
from planned_diffusion.generation.engine import engine as engine_module
from planned_diffusion.generation.engine.chunking import split_query, without_first
from planned_diffusion.generation.engine.engine import Engine
from planned_diffusion.generation.engine.prefix import WORTH_SHARING, causal_prefix, common
from planned_diffusion.generation.events import Forward, TokensWritten
from planned_diffusion.generation.fields import Settings
from planned_diffusion.generation.plan import Unit
from planned_diffusion.generation.query import Query, Request, Sampling
from planned_diffusion.generation.tokens import EVERYTHING
from planned_diffusion.generation.visibility import CAUSAL, NO_SPAN

LENGTH = 2 * WORTH_SHARING


def query(**changed) -> Query:
    fields = {"token_ids": [7, 8, 9, 10], "positions": [0, 1, 2, 3], "spans": [NO_SPAN] * 4, "rounds": [0] * 4}
    return Query(**{**fields, "wanted": [3], "allowed": EVERYTHING, "purpose": "planning", **changed})


@pytest.mark.parametrize(
    "changed, prefix",
    [
        ({}, [7, 8, 9]),  # the last one's output is wanted
        ({"wanted": [1, 3]}, [7]),
        ({"spans": [NO_SPAN, NO_SPAN, 0, 0]}, [7, 8]),
        ({"positions": [4, 5, 6, 7]}, []),  # something came before
        ({"positions": [0, 1, 3, 4]}, [7, 8]),
        ({"streams": [0, CAUSAL, 0, 0]}, [7]),
    ],
)
def test_a_prefix_is_what_nothing_else_could_change(changed, prefix):
    assert causal_prefix(query(**changed)) == prefix


@pytest.mark.parametrize("first, second, count", [([], [1], 0), ([1, 2], [1, 2, 3], 2), ([1, 2, 3], [1, 4, 3], 1)])
def test_common(first, second, count):
    assert common(first, second) == common(second, first) == count


def test_the_rest_of_a_query():
    rest = without_first(query(streams=[0, 0, 0, 0]), 2)
    assert rest == query(
        token_ids=[9, 10], positions=[2, 3], spans=[NO_SPAN] * 2, rounds=[0] * 2, wanted=[1], streams=[0] * 2
    )


def test_a_query_in_two():
    whole = query(streams=[0, 0, 0, 0])
    assert split_query(whole, 4) == (whole, None)
    first, rest = split_query(whole, 2)
    assert first == query(
        token_ids=[7, 8], positions=[0, 1], spans=[NO_SPAN] * 2, rounds=[0] * 2, wanted=[], streams=[0] * 2
    )
    assert rest == without_first(whole, 2)
    later = query(positions=[4, 5, 6, 7])
    assert [piece.positions for piece in split_query(later, 3)] == [[4, 5, 6], [7]]
    in_a_span = query(spans=[0, 0, 0, NO_SPAN])
    assert split_query(in_a_span, 2) == (in_a_span, None), "tokens of a span see what comes behind them"


@pytest.fixture(scope="module")
def requests(golden_tokens):
    """Samples of one prompt, one that leaves it half way, a stranger, and decoders of three kinds."""
    noise = torch.Generator().manual_seed(9)
    shared, stranger = torch.randint(0, 100, (2, LENGTH), generator=noise).tolist()
    other = [*shared[: WORTH_SHARING + 5], *stranger[:20]]

    def of(decoder, prompt, seed: int):
        sampling = Sampling(temperature=0.8, seed=seed) if seed else Sampling()
        settings = Settings(max_new_tokens=48, max_spans=3, suppress_in_spans=golden_tokens.all)
        return decoder, Request(tuple(prompt), golden_tokens, Unit(2.0), settings, sampling)

    return [
        of(planned, shared, 0), of(planned, shared, 1), of(autoregressive, shared, 2), of(diffusion, shared, 3),
        of(planned, other, 4), of(planned, stranger, 0),
    ]  # fmt: skip


@torch.no_grad()
def run(engine: Engine, requests) -> list[list]:
    numbers = [engine.add(decoder(request), request.sampling) for decoder, request in requests]
    events = {number: [] for number in numbers}
    for number, event in engine.run():
        events[number].append(event)
    assert engine.runners[0].slots.taken == 0
    return [events[number] for number in numbers]


def first_forward(events: list) -> int:
    return next(event.tokens for event in events if isinstance(event, Forward))


def written(events: list) -> list:
    return [(event.positions, event.token_ids) for event in events if isinstance(event, TokensWritten)]


@pytest.mark.parametrize("live", [64, 2])
def test_answers_are_those_without_company(planner, requests, live):
    together = run(Engine(planner, live_requests=live), requests)
    for request, events in zip(requests, together, strict=True):
        (alone,) = run(Engine(planner), [request])
        assert written(events) == written(alone)
        assert events[-1] == alone[-1]


def test_a_beginning_runs_once(planner, requests):
    together = run(Engine(planner), requests)
    alone = [run(Engine(planner), [request])[0] for request in requests]
    saved = [first_forward(one) - first_forward(shared) for one, shared in zip(alone, together, strict=True)]
    assert saved == [0, LENGTH - 1, LENGTH - 1, saved[3], WORTH_SHARING + 5, 0]
    assert saved[3] >= LENGTH - 1  # its canvas begins at the prompt's last token, or behind it


@pytest.mark.parametrize("live", [64, 1])
def test_a_long_prompt_runs_in_chunks(planner, requests, live, monkeypatch):
    """No forward is wider than it may be while prompts are read; answers and what is shared stay the same."""
    alone = [run(Engine(planner), [request])[0] for request in requests]
    most = 50  # of prompts of 128
    monkeypatch.setattr(engine_module, "TOKENS_PER_FORWARD", most)
    together = run(Engine(planner, live_requests=live), requests)
    for events, expected in zip(together, alone, strict=True):
        assert written(events) == written(expected) and events[-1] == expected[-1]
    widths = [event.tokens for event in together[0] if isinstance(event, Forward)]
    assert widths[:3] == [50, 50, LENGTH - 100]
    if live > 1:
        assert first_forward(together[1]) == 1, "the beginning ran once, in whatever chunks"


def test_whoever_waits_for_a_cancelled_request_goes_on(planner, requests):
    engine = Engine(planner)
    numbers = [engine.add(decoder(request), request.sampling) for decoder, request in requests[:2]]
    with torch.no_grad():
        for number, event in engine.tick():
            assert number == numbers[0], event  # the other one waits
            engine.cancel(number)
        events = [event for _, event in engine.run()]
    (alone,) = run(Engine(planner), [requests[1]])
    assert written(events) == written(alone)
    assert engine.runners[0].slots.taken == 0
