"""The response that streams events: however it ends, its answers are dropped."""

import asyncio

import pytest

from planned_diffusion.inference.server.event_stream import EventStream


def told_of(leave, answering=None) -> list[str]:
    """Stream until `leave(task, left)` has been awaited, where `left` lets the client leave; return what happened."""
    told, left = [], asyncio.Event()

    async def events():
        try:
            yield "data: {}\n\n"
            await (answering or asyncio.Event().wait)()
        finally:
            told.append("events are over")

    async def close():
        told.append("answers are dropped")

    async def receive():
        await left.wait()
        return {"type": "http.disconnect"}

    async def send(message):
        told.append(message.get("body", b"").decode())

    async def run():
        stream = EventStream(events(), close, stalled_seconds=60)
        task = asyncio.ensure_future(stream({"type": "http", "method": "POST", "headers": []}, receive, send))
        while "data: {}\n\n" not in told:
            await asyncio.sleep(0)
        await leave(task, left)

    asyncio.run(run())
    return told[2:]


def test_answers_of_a_client_that_leaves_are_dropped():
    async def leave(task, left):
        left.set()
        await task

    assert told_of(leave) == ["events are over", "answers are dropped"]


def test_answers_of_a_response_that_is_cancelled_are_dropped():
    """As Ray does where a client leaves, and uvicorn where the time to shut down is over."""

    async def leave(task, left):
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    assert told_of(leave) == ["events are over", "answers are dropped"]


def test_an_error_of_the_events_is_an_error_of_the_response():
    async def answering():
        raise LookupError("no events")

    async def leave(task, left):
        with pytest.raises(LookupError, match="no events"):
            await task

    assert told_of(leave, answering) == ["events are over", "answers are dropped"]
