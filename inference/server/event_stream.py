"""Server-sent events: chunks as they come, comments while there are none, and an end to readers who take nothing.

The answer is dropped as soon as its client is gone. A slow reader holds up nobody: what is new meanwhile is joined into
one chunk, and a reader who takes nothing at all for `stalled_seconds` is dropped as well.
"""

import asyncio
import json
import logging
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import suppress
from typing import Any

from fastapi import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from .followed import Followed
from .refusals import INVALID, RefusalError, failure, timed_out
from .responses import Shape

logger = logging.getLogger(__name__)
KEEP_ALIVE = ": keep-alive\n\n"
DONE = "data: [DONE]\n\n"
HEADERS = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}


class EventStream(Response):
    """The response that streams events.

    Args:
        events: as text.
        close: called at the end, also where the client leaves before it.
        stalled_seconds: a client that takes nothing for so long is dropped.
    """

    media_type = "text/event-stream"

    def __init__(
        self, events: AsyncGenerator[str], close: Callable[[], Awaitable[object]], stalled_seconds: float
    ) -> None:
        super().__init__(headers=HEADERS)
        self.events, self.close, self.stalled_seconds = events, close, stalled_seconds
        del self.headers["content-length"]  # not known

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the stream until it ends or the client is gone; the answers are dropped in any case."""
        sending = asyncio.ensure_future(self._send(send))
        leaving = asyncio.ensure_future(gone(Request(scope, receive)))
        try:
            await asyncio.wait({sending, leaving}, return_when=asyncio.FIRST_COMPLETED)
        finally:  # also where this task is cancelled
            sending.cancel()
            leaving.cancel()
            await asyncio.gather(sending, leaving, return_exceptions=True)
            await self.events.aclose()
            await self.close()
        with suppress(asyncio.CancelledError, TimeoutError):
            sending.result()

    async def _send(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        async for text in self.events:
            async with asyncio.timeout(self.stalled_seconds):
                await send({"type": "http.response.body", "body": text.encode(), "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})


def stream_of(exchange: Followed[Any], shape: Shape, close: Callable[[], Awaitable[object]]) -> EventStream:
    """Return the response that streams answers; `close` drops those that have not ended."""
    return EventStream(events_of(exchange, shape), close, exchange.limits.stalled_seconds)


async def gone(http: Request) -> None:
    """Wait until the client has left; its body has been read."""
    while (await http.receive())["type"] != "http.disconnect":
        pass


async def events_of(exchange: Followed[Any], shape: Shape) -> AsyncGenerator[str]:
    """Yield the events of a stream: chunks in JSON, an error where it fails, `[DONE]` where it does not."""
    limits, ended = exchange.limits, set[int]()
    for chunk in shape.first_chunks(exchange.answers):
        yield event_text(chunk)
    told_at = time.monotonic()
    while True:
        news = list(_news(exchange, shape, ended))
        for event in news:
            yield event
        if exchange.error is not None:
            yield event_text(refusal_of(exchange.error).body())
            return
        if len(ended) == len(exchange.answers):
            break
        if exchange.seconds_left <= 0:
            yield event_text(timed_out(limits.answer_seconds).body())
            return
        if not news and time.monotonic() - told_at >= limits.keep_alive_seconds:
            news = [KEEP_ALIVE]
            yield KEEP_ALIVE
        told_at = time.monotonic() if news else told_at
        await exchange.change(min(told_at + limits.keep_alive_seconds - time.monotonic(), exchange.seconds_left))
    for chunk in shape.last_chunks(exchange.answers):
        yield event_text(chunk)
    yield DONE


def _news(exchange: Followed[Any], shape: Shape, ended: set[int]) -> Iterator[str]:
    """Yield the events for what is new; answers that have ended are added to `ended`."""
    for index, answer in enumerate(exchange.answers):
        for chunk in shape.chunks(index, answer):
            yield event_text(chunk)
        if answer.is_over and answer.error is None and index not in ended:
            ended.add(index)
            yield event_text(shape.end_chunk(index, answer))


def refusal_of(error: Exception) -> RefusalError:
    """Return how a client is told of an error in the middle of an answer."""
    if isinstance(error, RefusalError):
        return error
    if isinstance(error, ValueError):
        return RefusalError(str(error), kind=INVALID)
    logger.error("An answer failed.", exc_info=error)
    return failure()


def event_text(body: dict[str, Any]) -> str:
    """Return an event with a body in JSON."""
    return f"data: {json.dumps(body, ensure_ascii=False)}\n\n"
