"""Our model plans for another engine: round after round, and no longer than it must. Turns at the engine are fair."""

import asyncio
import contextlib
import time

import pytest
from scripted_engine import scripted_engine

from planned_diffusion.inference.front.engine_client import EngineAddress
from planned_diffusion.inference.front.front_app import Front, build_front
from planned_diffusion.inference.front.turns import Turns
from planned_diffusion.inference.server.limits import Limits

PROMPTS = ("abc", "a", "xyz", "hello there")


@pytest.fixture
def front(start_app, tiny):
    """front(limits) -> a context with a server for which the random model plans, and its scripted engine."""

    @contextlib.contextmanager
    def run(limits=None):
        with (
            scripted_engine(lambda body: f"text {len(body['messages'][-1]['content'])}") as engine,
            start_app(build_front(Front(EngineAddress(engine.url), tiny), limits)) as server,
        ):
            yield server, engine

    return run


def idle(server) -> bool:
    """Tell whether the planner has nothing to do, waiting a little for that."""
    end = time.monotonic() + 10
    [engine] = server.service.planner.engine.engines.values()
    while len(engine) and time.monotonic() < end:
        time.sleep(0.01)
    return not len(engine)


def promised(choice) -> list[list[tuple[str, int]]]:
    return [[(part["topic"], part["length"]) for part in parts] for parts in choice.get("plan", [])]


def test_rounds_are_those_that_our_model_plans(front, tiny_server):
    rounds = []
    with front(Limits(answer_tokens=200)) as (server, engine):
        for prompt in PROMPTS:
            [own] = tiny_server.chat(prompt)["choices"]
            engine.bodies.clear()
            [choice] = server.chat(prompt, temperature=0.0)["choices"]
            wanted = promised(own)
            if sum(map(len, wanted)) > 1:
                assert promised(choice) == wanted and len(engine.bodies) == sum(map(len, wanted))
            else:
                assert "plan" not in choice and len(engine.bodies) == 1
            rounds.append(len(wanted))
            assert idle(server)
    assert max(rounds) > 1  # or the test shows less than it says


def test_a_chat_that_our_model_cannot_take_is_passed_on(front):
    with front(Limits(prompt_tokens=2)) as (server, engine):
        [choice] = server.chat("abcdef")["choices"]
        assert "plan" not in choice and engine.questions == ["abcdef"]


def test_a_planner_that_fails_is_an_error_without_its_reason(front, monkeypatch):
    with front() as (server, engine):

        def fail(*given):
            raise RuntimeError("secret")

        monkeypatch.setattr(server.service.planner.engine.engines["planner"].engine, "tick", fail)
        body = {"model": "facts", "messages": [{"role": "user", "content": "abc"}]}
        status, answer = server.post("/v1/chat/completions", body)
        assert status == 500 and "secret" not in str(answer) and not engine.bodies
        assert server.service.places.taken["engine"] == 0


def test_whoever_leaves_while_it_is_planned_frees_the_planner(front, monkeypatch):
    with front() as (server, engine):
        [planning] = server.service.planner.engine.engines.values()
        tick = planning.tick
        monkeypatch.setattr(planning, "tick", lambda: (time.sleep(0.05), tick()))
        with server.sent({"model": "facts", "messages": [{"role": "user", "content": "abc"}]}):
            while not len(planning):
                time.sleep(0.005)
        assert idle(server) and not engine.bodies


def test_clients_take_turns():
    order = []

    async def ask(turns, client):
        async with turns.turn(client):
            order.append(client)
            await asyncio.sleep(0)

    async def run():
        turns = Turns(1)
        async with turns.turn("first"):
            tasks = [asyncio.create_task(ask(turns, client)) for client in ("a", "a", "a", "b", "c")]
            await asyncio.sleep(0)
            tasks[1].cancel()  # one that waits
            await asyncio.sleep(0)
            assert len(turns) == 4
        await asyncio.gather(*tasks, return_exceptions=True)
        return turns.running.total(), len(turns)

    assert asyncio.run(run()) == (0, 0)
    assert order == ["a", "b", "c", "a"]


def test_a_turn_that_comes_too_late_is_passed_on():
    """A task that is cancelled when it has just got its place gives it to the next one."""

    async def run():
        turns, seen = Turns(1), []

        async def ask(client):
            async with turns.turn(client):
                seen.append(client)

        async with turns.turn("first"):
            late, other = (asyncio.create_task(ask(client)) for client in ("late", "other"))
            await asyncio.sleep(0)
        late.cancel()
        await asyncio.gather(late, other, return_exceptions=True)
        return seen, turns.running.total()

    assert asyncio.run(run()) == (["other"], 0)
