"""The engine: requests that share forwards answer as if alone, join, leave, are cancelled, give their slots back."""

import pytest
import torch

from planned_diffusion.generation.decoders.autoregressive import autoregressive
from planned_diffusion.generation.decoders.planned import planned
from planned_diffusion.generation.engine import engine as engine_module
from planned_diffusion.generation.engine.engine import Engine
from planned_diffusion.generation.events import Ended, Failed, Forward, PlanDone, PlanToken, Text, TokensWritten
from planned_diffusion.generation.fields import Settings
from planned_diffusion.generation.plan import Unit
from planned_diffusion.generation.query import Query, Request, Sampling
from planned_diffusion.generation.tokens import EVERYTHING


@pytest.fixture(scope="module")
def requests(golden_tokens, prompts):
    """Eight ragged prompts: (decoder, request), two thirds of them planned, some sampled."""

    def of(number: int, prompt: list[int], sampling: Sampling):
        settings = Settings(
            max_new_tokens=60 + number,
            span_attention=("dense", "sparse", "sparse")[number % 3],
            steps_ratio=(1.0, 0.5)[number % 2],
            max_spans=3,
            suppress_in_spans=golden_tokens.all - {golden_tokens.span_pad},
        )
        return Request(tuple(prompt), golden_tokens, Unit(2.0), settings, sampling)

    samplings = [Sampling(temperature=0.9, seed=4), Sampling(score="margin", top_k=20), Sampling()]
    return [
        (autoregressive if number % 3 == 2 else planned, of(number, prompt, samplings[number % len(samplings)]))
        for number, prompt in enumerate(prompts(8, 30, seed=4))
    ]


@torch.no_grad()
def run(engine: Engine, requests) -> list[list]:
    """Events of each request, in order."""
    numbers = [engine.add(decoder(request), request.sampling) for decoder, request in requests]
    events = {number: [] for number in numbers}
    for number, event in engine.run():
        events[number].append(event)
    assert engine.runners[0].slots.taken == 0
    return [events[number] for number in numbers]


def outcome(events: list) -> tuple:
    """What must not depend on company: all but the last digits of the scores."""
    written = [(event.round, event.positions, event.token_ids) for event in events if isinstance(event, TokensWritten)]
    rest = [event for event in events if not isinstance(event, TokensWritten)]
    return written, rest


@pytest.fixture(scope="module")
def alone(planner, requests):
    return [run(Engine(planner), [request])[0] for request in requests]


@pytest.mark.parametrize("live", [64, 3, 1])
def test_a_batch_is_its_requests_alone(live, planner, requests, alone):
    """Planned (sparse, dense, sampled) and left to right, mixed; with few live ones the others wait their turn."""
    together = run(Engine(planner, live_requests=live), requests)
    for number, (events, expected) in enumerate(zip(together, alone, strict=True)):
        assert outcome(events) == outcome(expected), number
        for event, other in zip(events, expected, strict=True):
            if isinstance(event, TokensWritten):
                assert event.scores == pytest.approx(other.scores, abs=1e-4)
    assert any(len(event.spans) > 1 for events in alone for event in events if isinstance(event, PlanDone))


def test_requests_share_forwards(planner, requests):
    engine, widths = Engine(planner), []
    hook = planner.lm_head.register_forward_hook(lambda module, args, out: widths.append(len(out)))
    try:
        events = run(engine, requests)
    finally:
        hook.remove()
    longest = max(sum(isinstance(event, Forward) for event in of_one) for of_one in events)
    assert len(widths) == longest  # as many forwards as the longest request takes, and no more


def test_a_forward_holds_so_many_tokens_and_everyone_has_a_turn(planner, requests, alone, monkeypatch):
    """Narrow forwards: the same answers, none wider than it may be unless by one request, nobody left behind."""
    most = 45
    monkeypatch.setattr(engine_module, "TOKENS_PER_FORWARD", most)
    engine, seen = Engine(planner), []
    take = engine_module.select

    def noting(asking):
        taken = take(asking)
        if asking:
            seen.append(([one.document for one in asking], {one.document: len(one.query.token_ids) for one in taken}))
        return taken

    monkeypatch.setattr(engine_module, "select", noting)
    together = run(engine, requests)
    assert [outcome(events) for events in together] == [outcome(events) for events in alone]
    assert all(sum(ran.values()) <= most or len(ran) == 1 for _, ran in seen)
    assert any(len(ran) > 1 for _, ran in seen) and any(len(ran) < len(asking) for asking, ran in seen)
    waited = dict.fromkeys(range(len(requests)), 0)
    for asking, ran in seen:
        waited |= {document: 0 if document in ran else waited[document] + 1 for document in asking}
        assert max(waited.values()) < len(requests)


def test_events_of_a_request_are_in_order(alone):
    for events in alone:
        assert isinstance(events[0], Forward)
        assert [index for index, event in enumerate(events) if isinstance(event, Ended)] == [len(events) - 1]
        for before, event in zip(events, events[1:], strict=False):
            if isinstance(event, PlanToken):
                assert before == Forward("planning", before.tokens, before.commits)


def test_waiting_requests_join_as_others_leave(planner, requests):
    engine = Engine(planner, live_requests=2)
    live, most = set(), 0
    for decoder, request in requests:
        engine.add(decoder(request), request.sampling)
    with torch.no_grad():
        for number, event in engine.run():
            live.add(number)
            most = max(most, len(live))
            if isinstance(event, Ended):
                live.discard(number)
    assert most == 2


def test_requests_may_be_added_while_others_run(planner, requests, alone):
    engine, events, later = Engine(planner), {}, list(requests)
    decoder, request = later.pop(0)
    engine.add(decoder(request), request.sampling)
    with torch.no_grad():
        for number, event in engine.run():
            events.setdefault(number, []).append(event)
            if later and len(events[number]) == 5:
                decoder, request = later.pop(0)
                engine.add(decoder(request), request.sampling)
    for number, of_one in events.items():
        assert outcome(of_one) == outcome(alone[number])


def test_an_engine_can_be_used_again(planner, requests, alone):
    engine = Engine(planner)
    for _ in range(2):
        assert [outcome(events) for events in run(engine, requests[:3])] == list(map(outcome, alone[:3]))


def test_cancelled_between_ticks(planner, requests, alone):
    """A live request and a waiting one leave; the others do not notice."""
    engine = Engine(planner, live_requests=4)
    numbers = [engine.add(decoder(request), request.sampling) for decoder, request in requests]
    events = {number: [] for number in numbers}
    with torch.no_grad():
        for number, event in engine.tick():
            events[number].append(event)
        taken = engine.runners[0].slots.taken
        engine.cancel(numbers[1])
        engine.cancel(numbers[6])
        assert engine.runners[0].slots.taken == taken - len(requests[1][1].prompt_ids)
        for number, event in engine.run():
            events[number].append(event)
    assert engine.runners[0].slots.taken == 0
    for number in (0, 2, 3, 4, 5, 7):
        assert outcome(events[number]) == outcome(alone[number])
    assert events[6] == [] and not any(isinstance(event, Ended) for event in events[1])


@pytest.mark.parametrize("victim", [0, 1], ids=["itself", "another"])
def test_cancelled_by_who_reads_the_events(victim, planner, requests, alone):
    """The natural use: `for number, event in engine.run(): if ...: engine.cancel(number)`."""
    engine = Engine(planner)
    numbers = [engine.add(decoder(request), request.sampling) for decoder, request in requests[:3]]
    events, cancelled = {number: [] for number in numbers}, False
    with torch.no_grad():
        for number, event in engine.run():
            events[number].append(event)
            if number == 0 and isinstance(event, Forward) and not cancelled:
                engine.cancel(numbers[victim])
                cancelled = True
    assert engine.runners[0].slots.taken == 0
    assert outcome(events[2]) == outcome(alone[2])
    assert not any(isinstance(event, Ended) for event in events[victim])


def test_cancelling_who_has_ended_is_no_error(planner, requests):
    engine = Engine(planner)
    run(engine, requests[:1])
    engine.cancel(0)
    engine.cancel(99)
    assert engine.runners[0].slots.taken == 0 and list(engine.run()) == []


def test_nan_logits_are_an_error_that_says_where(build_model, requests):
    model = build_model()
    with torch.no_grad():
        model.lm_head.weight[3] = torch.nan
    decoder, request = requests[0]
    where = len(request.prompt_ids)
    with pytest.raises(
        FloatingPointError, match=f"NaN at position {where} of request 0 while planning; check the check"
    ):
        run(Engine(model), [(decoder, request)])


@torch.no_grad()
def test_a_decoder_that_fails_harms_no_other(planner, requests, alone):
    def broken(request):
        yield Query([1], [0], [-1], [0], [0], EVERYTHING, "planning")
        raise RuntimeError("my own fault")

    engine, given = Engine(planner), [requests[0], (broken, requests[0][1]), *requests[1:3]]
    events = {engine.add(decoder(request), request.sampling): [] for decoder, request in given}

    def listen():
        for number, event in engine.run():
            events[number].append(event)

    with pytest.raises(RuntimeError, match="my own fault"):
        listen()
    listen()
    assert engine.runners[0].slots.taken == 0
    assert list(map(outcome, (events[0], events[2], events[3]))) == list(map(outcome, alone[:3]))


@torch.no_grad()
def test_a_tick_tells_which_request_failed(planner, requests):
    def broken(request):
        raise RuntimeError("my own fault")
        yield

    engine = Engine(planner)
    for decoder, request in (requests[0], (broken, requests[0][1])):
        engine.add(decoder(request), request.sampling)
    failed = [(number, event.error.args) for number, event in engine.tick() if isinstance(event, Failed)]
    assert failed == [(1, ("my own fault",))]


@pytest.mark.parametrize("kind", [Forward, PlanToken, TokensWritten, Text])
@torch.no_grad()
def test_a_run_may_be_left_at_any_event_and_taken_up_again(kind, planner, requests, alone):
    engine = Engine(planner)
    events = {engine.add(decoder(request), request.sampling): [] for decoder, request in requests[:6]}
    left = 0
    while True:
        for number, event in engine.run():
            events[number].append(event)
            if isinstance(event, kind):
                left += 1
                break
        else:
            break
    assert left > 6 and engine.runners[0].slots.taken == 0
    assert list(map(outcome, events.values())) == list(map(outcome, alone[:6]))


def test_nothing_to_do(planner):
    assert list(Engine(planner).run()) == []
    assert list(Engine(planner).tick()) == []
