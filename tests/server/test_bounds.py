"""Bounds: places, time, clients that leave or read slowly, and the end of the server."""

import asyncio
import json
import socket
import threading
import time

import pytest

from planned_diffusion.generation.events import Ended, Failed, Forward
from planned_diffusion.inference.answer import ask
from planned_diffusion.inference.server.engine_thread import EngineThread, Ticket
from planned_diffusion.inference.server.limits import Limits
from planned_diffusion.inference.server.written_answer import WrittenAnswer

LONG = {"decoding": "autoregressive", "temperature": 1.0, "seed": 0, "max_tokens": 400}
CHAT = "/v1/chat/completions"


def body(**fields) -> dict:
    return {"model": "tiny", "messages": [{"role": "user", "content": "abc"}], **LONG, **fields}


@pytest.fixture
def slow(tiny, monkeypatch):
    """The random model, which takes 10 ms more for every forward and never ends an answer by itself."""
    from planned_diffusion.generation.engine.runner import Runner

    run = Runner.logits

    def slowly(self, packed):
        time.sleep(0.01)
        logits = run(self, packed)
        logits[:, 100] = -1e9  # EOS
        return logits

    monkeypatch.setattr(Runner, "logits", slowly)
    return tiny


def head_for(host: str) -> str:
    return f"POST {CHAT} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n"


def made(model, fields):
    """Return a function that makes the answer to a chat."""
    return lambda: [WrittenAnswer(model, request) for request in model.requests(model.encode_chat("abc"), fields)]


def wait_for(condition, seconds: float = 10) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.001)


def test_a_full_queue_refuses_with_the_time_to_wait(slow, start):
    with start({"tiny": slow}, Limits(live=1, queue=1)) as server:
        first, second = server.sent(body(stream=True)), server.sent(body())
        wait_for(lambda: server.service.admission.taken.get("tiny") == 2)
        status, headers, text = server.ask(CHAT, body())
        assert status == 429 and 1 <= int(headers["retry-after"]) <= 60
        error = json.loads(text)["error"]
        assert error["type"] == "rate_limit_error" and error["code"] == "rate_limit_exceeded"
        assert server.ask("/health")[0] == 200
        first.close(), second.close()
        assert server.settled() == {}
        assert server.post(CHAT, body(max_tokens=3))[0] == 200


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_leaves_frees_its_slots_within_two_forwards(stream, slow, start):
    with start({"tiny": slow}) as server:
        engine = server.service.engine.engines["tiny"]
        connection = server.sent(body(stream=stream))
        wait_for(lambda: engine.slots > 10)
        before = engine.forwards
        connection.close()
        wait_for(lambda: not len(engine))
        assert engine.forwards - before <= 2 + 1  # one was running when the client left
        assert server.settled() == {}


def test_a_client_that_leaves_the_queue_never_runs(slow, start):
    with start({"tiny": slow}, Limits(live=1)) as server:
        first, second = server.sent(body()), server.sent(body())
        wait_for(lambda: server.service.admission.taken.get("tiny") == 2)
        second.close()
        wait_for(lambda: server.service.admission.taken["tiny"] == 1)
        first.close()
        assert server.settled() == {}


@pytest.mark.parametrize("stream", [False, True])
def test_an_answer_that_takes_too_long_is_ended(stream, slow, start):
    with start({"tiny": slow}, Limits(answer_seconds=0.3)) as server:
        status, headers, text = server.ask(CHAT, body(stream=stream))
        error = json.loads(text.strip().rpartition("\n")[2].removeprefix("data: "))["error"]
        assert error["code"] == "timeout" and "0.3 seconds" in error["message"]
        assert status == (200 if stream else 504) and "[DONE]" not in text
        assert server.settled() == {}


def test_a_stream_without_news_keeps_its_connection_alive(slow, start):
    with start({"tiny": slow}, Limits(keep_alive_seconds=0.05)) as server:
        given = body(stream=True, decoding="diffusion", max_tokens=60, steps_ratio=1)
        text = server.ask(CHAT, given)[2]
        assert text.count(": keep-alive\n\n") >= 2 and text.endswith("data: [DONE]\n\n")


def test_a_body_that_comes_too_slowly_is_refused(tiny, start):
    with start({"tiny": tiny}, Limits(body_seconds=0.2)) as server:
        host, port = server.url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port))) as connection:
            connection.sendall(f"{head_for(host)}Content-Length: 50\r\n\r\n{{".encode())
            assert b" 408 " in connection.recv(1000)


def test_a_body_without_a_length_is_bounded_as_well(tiny, start):
    with start({"tiny": tiny}, Limits(body_bytes=1000)) as server:
        host, port = server.url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port))) as connection:
            head = (
                f"POST {CHAT} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked"
            )
            connection.sendall(f"{head}\r\n\r\n".encode() + b"400\r\n" + b"[" * 1024 + b"\r\n")
            assert b" 413 " in connection.recv(1000)


def test_a_reader_who_takes_nothing_is_dropped_and_holds_up_nobody(tiny, start):
    """A pipe that is full stands for a network that is; the other client is answered meanwhile."""
    from planned_diffusion.inference.server.event_stream import stream_of
    from planned_diffusion.inference.server.responses import Shape

    with start({"tiny": tiny}, Limits(stalled_seconds=0.2)) as server:
        model, admission = server.service.models["tiny"], server.service.admission

        async def stalled() -> float:
            make = made(model, {"max_new_tokens": 20})
            exchange = await admission.open(model, 1, make)
            started = time.monotonic()
            forever = asyncio.Event()

            async def receive():
                await forever.wait()

            async def send(message):
                if message["type"] == "http.response.body":
                    await forever.wait()

            await stream_of(exchange, Shape("tiny", True), exchange.drop)({"type": "http"}, receive, send)
            return time.monotonic() - started

        seconds: list[float] = []
        reader = threading.Thread(target=lambda: seconds.append(asyncio.run(stalled())))
        reader.start()
        assert server.chat("abc", max_tokens=10)["choices"]
        reader.join(10)
        assert 0.2 <= seconds[0] < 5
        assert server.settled() == {}


def test_what_a_slow_reader_missed_comes_in_one_piece(tiny, start):
    from planned_diffusion.inference.server.event_stream import events_of
    from planned_diffusion.inference.server.responses import Shape

    with start({"tiny": tiny}) as server:
        model, admission = server.service.models["tiny"], server.service.admission

        async def chunks() -> list[str]:
            fields = {"max_new_tokens": 40, "decoding": "autoregressive", "do_sample": True, "seed": 1}
            make = made(model, fields)
            exchange = await admission.open(model, 1, make)
            found = []
            async for text in events_of(exchange, Shape("tiny", True)):
                await exchange.finish()
                found.append(text)
            return found

        assert len(asyncio.run(chunks())) == 4  # role, all of the text, end, [DONE]


def test_running_answers_end_when_the_server_stops(slow, start):
    with start({"tiny": slow}) as server:
        found: list[str] = []
        client = threading.Thread(target=lambda: found.append(server.ask(CHAT, body(stream=True, max_tokens=60))[2]))
        client.start()
        wait_for(lambda: server.service.engine.engines["tiny"].slots > 5)
        server.server.should_exit = True
        client.join(20)
        assert found[0].endswith("data: [DONE]\n\n")
    assert not server.service.engine.is_alive


# The engine's thread


def test_a_forward_that_fails_ends_its_requests_and_no_later_one(tiny, start, monkeypatch):
    from planned_diffusion.generation.engine.runner import Runner

    run = Runner.logits
    with start({"tiny": tiny}) as server:
        monkeypatch.setattr(Runner, "logits", lambda self, packed: run(self, packed) * float("nan"))
        status, answer = server.post(CHAT, body(max_tokens=5))
        assert status == 500 and answer["error"]["type"] == "server_error" and "NaN" not in answer["error"]["message"]
        chunks = server.stream("abc", max_tokens=5)
        assert chunks[-1]["error"]["type"] == "server_error" and "[DONE]" not in chunks
        monkeypatch.setattr(Runner, "logits", run)
        assert server.settled() == {}
        assert server.chat("abc", max_tokens=20)["choices"][0]["message"]["content"] == (
            ask(tiny, "abc", {"max_new_tokens": 20}).text
        )


def test_a_request_that_cannot_join_fails_alone(tiny, start, monkeypatch):
    from planned_diffusion.generation.engine.engine import Engine

    def fail(self, decoding, sampling):
        raise KeyError("a bug")

    with start({"tiny": tiny}) as server:
        with monkeypatch.context() as patch:
            patch.setattr(Engine, "add", fail)
            status, answer = server.post(CHAT, body(max_tokens=5))
        assert status == 500 and answer["error"]["type"] == "server_error"
        assert server.settled() == {} and server.post(CHAT, body(max_tokens=5))[0] == 200


def test_two_models_share_the_thread(tiny, facts, start):
    question = "What is the capital of Kenya?"
    with start({"tiny": tiny, "owner/facts": facts}) as server:
        messages = [{"role": "user", "content": question}]
        _, theirs = server.post(CHAT, {"model": "owner/facts", "messages": messages})
        assert theirs["model"] == "owner/facts"
        assert theirs["choices"][0]["message"]["content"] == ask(facts, question, {}).text
        assert server.chat("abc", max_tokens=20)["model"] == "tiny"
        listed = json.loads(server.ask("/v1/models")[2])
        assert [model["id"] for model in listed["data"]] == ["tiny", "owner/facts"]
        assert json.loads(server.ask("/v1/models/owner/facts")[2])["id"] == "owner/facts"


def test_a_ticket_gets_its_events_in_order_and_none_once_it_is_cancelled(tiny):
    thread = EngineThread({"tiny": tiny}, {"tiny": 4})
    thread.start()
    events, over = [], threading.Event()

    def deliver(some):
        events.extend(some)
        if isinstance(events[-1], (Ended, Failed)):
            over.set()

    request = tiny.request("abc", {"max_new_tokens": 30})
    thread.add(Ticket("tiny", request, deliver))
    assert over.wait(10) and isinstance(events[0], Forward) and isinstance(events[-1], Ended)
    dropped: list = []
    ticket = Ticket("tiny", request, dropped.extend)
    thread.cancel(ticket)  # of one that was never added
    thread.add(ticket)
    thread.cancel(ticket)
    thread.cancel(ticket)
    over.clear()
    thread.add(Ticket("tiny", request, deliver))
    assert over.wait(10) and not any(isinstance(event, Ended) for event in dropped)
    thread.close()
    assert not thread.is_alive and len(thread.engines["tiny"]) == 0


def test_an_error_of_the_servers_own_ends_the_answer(tiny, start, monkeypatch):
    """It is raised on the event loop, where nobody waits for it."""

    def fail(self, event):
        raise RuntimeError("a bug")

    with start({"tiny": tiny}) as server:
        monkeypatch.setattr(WrittenAnswer, "_add", fail)
        assert server.post(CHAT, body())[0] == 500
        assert "error" in server.stream("abc", max_tokens=5)[-1]
        assert server.settled() == {}


def test_a_server_whose_engine_has_stopped_says_so(tiny, start):
    with start({"tiny": tiny}) as server:
        server.service.engine.close()
        assert server.ask("/health")[0] == 503
        status, answer = server.post(CHAT, body())
        assert status == 503 and answer["error"]["type"] == "server_error"
        assert server.leaks == {}


@pytest.mark.parametrize("bound", ["queue", "choices", "answer_tokens", "answer_seconds"])
def test_bounds_that_let_nothing_through_are_refused(bound):
    with pytest.raises(ValueError, match=rf"{bound} is -1; give at least"):
        Limits(**{bound: -1})
