"""Server-sent events: chunks as they come, comments while there are none, and an end to readers who take nothing.

The answer is dropped as soon as its client is gone. A slow reader holds up nobody: what is new meanwhile is joined into
one chunk, and a reader who takes nothing at all for `stalled_seconds` is dropped as well.
"""

import asyncio
import json
import logging
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from typing import Any

from fastapi import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from .exchange import Exchange
from .refusals import INVALID, RefusalError, failure, timed_out
from .responses import Shape

logger = logging.getLogger(__name__)
KEEP_ALIVE = ": keep-alive\n\n"
DONE = "data: [DONE]\n\n"
HEADERS = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}


class EventStream(Response):
    """The response that streams the answers of an exchange."""

    media_type = "text/event-stream"

    def __init__(self, exchange: Exchange, shape: Shape) -> None:
        super().__init__(headers=HEADERS)
        self.exchange, self.shape = exchange, shape
        del self.headers["content-length"]  # not known

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the stream until it ends or the client is gone; the answers are dropped in any case."""
        try:
            sending = asyncio.ensure_future(self._send(send))
            leaving = asyncio.ensure_future(gone(Request(scope, receive)))
            await asyncio.wait({sending, leaving}, return_when=asyncio.FIRST_COMPLETED)
            for task in (sending, leaving):
                task.cancel()
            with suppress(asyncio.CancelledError, TimeoutError):
                await sending
        finally:
            self.exchange.close()

    async def _send(self, send: Send) -> None:
        stalled = self.exchange.admission.limits.stalled_seconds
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        async for text in events_of(self.exchange, self.shape):
            async with asyncio.timeout(stalled):
                await send({"type": "http.response.body", "body": text.encode(), "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def gone(http: Request) -> None:
    """Wait until the client has left; its body has been read."""
    while (await http.receive())["type"] != "http.disconnect":
        pass


async def events_of(exchange: Exchange, shape: Shape) -> AsyncIterator[str]:
    """Yield the events of a stream: chunks in JSON, an error where it fails, `[DONE]` where it does not."""
    limits, ended = exchange.admission.limits, set[int]()
    for chunk in shape.first_chunks(exchange.answers):
        yield _event(chunk)
    told_at = time.monotonic()
    while True:
        news = list(_news(exchange, shape, ended))
        for event in news:
            yield event
        if exchange.error is not None:
            yield _event(refusal_of(exchange.error).body())
            return
        if len(ended) == len(exchange.answers):
            break
        if exchange.seconds_left <= 0:
            yield _event(timed_out(limits.answer_seconds).body())
            return
        if not news and time.monotonic() - told_at >= limits.keep_alive_seconds:
            news = [KEEP_ALIVE]
            yield KEEP_ALIVE
        told_at = time.monotonic() if news else told_at
        await exchange.change(min(told_at + limits.keep_alive_seconds - time.monotonic(), exchange.seconds_left))
    for chunk in shape.last_chunks(exchange.answers):
        yield _event(chunk)
    yield DONE


def _news(exchange: Exchange, shape: Shape, ended: set[int]) -> Iterator[str]:
    """Yield the events for what is new; answers that have ended are added to `ended`."""
    for index, answer in enumerate(exchange.answers):
        for chunk in shape.chunks(index, answer):
            yield _event(chunk)
        if answer.ended is not None and index not in ended:
            ended.add(index)
            yield _event(shape.end_chunk(index, answer))


def refusal_of(error: Exception) -> RefusalError:
    """Return how a client is told of an error in the middle of an answer."""
    if isinstance(error, ValueError):
        return RefusalError(str(error), kind=INVALID)
    logger.error("An answer failed.", exc_info=error)
    return failure()


def _event(body: dict[str, Any]) -> str:
    return f"data: {json.dumps(body, ensure_ascii=False)}\n\n"
