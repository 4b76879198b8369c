"""Answers without parts: the engine is asked for them as a client asked, and its reply is passed on as it stands.

Only the usage changes, where an outline was asked for before: its tokens are added.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import suppress

from ..server.event_stream import DONE, KEEP_ALIVE, event_text
from ..server.limits import Limits
from ..server.refusals import RefusalError, timed_out
from .engine_client import Completion
from .planned_parts import PlanSource


async def events_of_chunks(chunks: AsyncIterator[Completion], outline: PlanSource) -> AsyncGenerator[str]:
    """Yield the chunks of an engine's stream as events, an error where it breaks off, `[DONE]` where it does not."""
    try:
        async for chunk in chunks:
            yield event_text(with_outline(chunk, outline))
    except RefusalError as refusal:
        yield event_text(refusal.body())
        return
    yield DONE


async def kept_alive(events: AsyncGenerator[str], limits: Limits, deadline: float) -> AsyncGenerator[str]:
    """Yield events, a comment after every pause without one, and an error once it is late.

    Args:
        limits: say how long a pause is.
        deadline: of `time.monotonic`.
    """
    waiting: asyncio.Task[str | None] | None = None
    try:
        while True:
            waiting = waiting or asyncio.create_task(_next(events))
            await asyncio.wait({waiting}, timeout=max(0.0, min(limits.keep_alive_seconds, deadline - time.monotonic())))
            if waiting.done():
                text, waiting = waiting.result(), None
                if text is None:
                    return
                yield text
            elif time.monotonic() >= deadline:
                yield event_text(timed_out(limits.answer_seconds).body())
                return
            else:
                yield KEEP_ALIVE
    finally:
        if waiting is not None:
            waiting.cancel()
            with suppress(asyncio.CancelledError):
                await waiting
        await events.aclose()


async def _next(events: AsyncGenerator[str]) -> str | None:
    return await anext(events, None)


def with_outline(completion: Completion, outline: PlanSource) -> Completion:
    """Return a completion, or a chunk, whose usage has the tokens of an outline as well."""
    usage = completion.get("usage")
    if not isinstance(usage, dict) or not outline.plan_tokens:
        return completion
    more = {
        "prompt_tokens": outline.prompt_tokens,
        "completion_tokens": outline.plan_tokens,
        "total_tokens": outline.prompt_tokens + outline.plan_tokens,
    }
    sums = {name: count + (usage.get(name) or 0) for name, count in more.items()}
    details = {**(usage.get("completion_tokens_details") or {}), "plan_tokens": outline.plan_tokens}
    return {**completion, "usage": {**usage, **sums, "completion_tokens_details": details}}
