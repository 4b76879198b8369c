"""The failures of another engine, as clients of this server are told of them: neither its address nor its key."""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import openai

from ..server.refusals import FAILED, INVALID, RefusalError

logger = logging.getLogger(__name__)
NEXT_TRY = {"Retry-After": "5"}
OF_THE_REQUEST = (400, 413, 422)  # statuses that are about what the client asked


class NoCompletionError(Exception):
    """A reply is no whole completion; the message shows its beginning."""


@asynccontextmanager
async def told_failures(url: str, seconds: float) -> AsyncIterator[None]:
    """Turn the failures of an engine into refusals; the log has their reason.

    Args:
        url: where it is.
        seconds: time that it had.
    """
    try:
        yield
    except (openai.OpenAIError, NoCompletionError, ValueError, TypeError, AttributeError) as error:
        refusal = refusal_for(error, seconds)
        logger.warning("The engine %s: %s: %s", url, type(error).__name__, error)
        raise refusal from error


def refusal_for(error: Exception, seconds: float) -> RefusalError:
    """Return how a client is told of a failure of the engine."""
    if isinstance(error, openai.APITimeoutError):
        message = f"The engine took more than {seconds:g} seconds; ask for fewer tokens, or try again later."
        return RefusalError(message, 504, code="timeout", kind="timeout_error")
    if isinstance(error, openai.APIConnectionError):
        message = "The engine behind this server cannot be reached; try again later."
        return RefusalError(message, 503, code="engine_away", kind=FAILED, headers=NEXT_TRY)
    if isinstance(error, openai.APIStatusError):
        return _of_status(error)
    message = "The engine behind this server gave no whole completion; try again, or ask its operator."
    return RefusalError(message, 502, code="engine_failed", kind=FAILED)


def _of_status(error: openai.APIStatusError) -> RefusalError:
    status = error.status_code
    if status in OF_THE_REQUEST:
        said = said_in(error) or "it does not say why"
        return RefusalError(f"The engine refuses the request: {said}", 400, param=_param(error.body), kind=INVALID)
    if status == 429:
        headers = {"Retry-After": error.response.headers.get("retry-after", NEXT_TRY["Retry-After"])}
        message = "The engine behind this server is busy; try again later."
        return RefusalError(message, 429, code="rate_limit_exceeded", kind="rate_limit_error", headers=headers)
    reasons = {
        401: "does not take this server's key; its operator has to give another one",
        403: "does not take this server's key; its operator has to give another one",
        404: "has no such address or model; this server's operator has to look at --engine",
    }
    reason = reasons.get(status, f"failed with status {status}; try again later")
    return RefusalError(f"The engine behind this server {reason}.", 502, code="engine_failed", kind=FAILED)


def said_in(error: openai.APIStatusError) -> str:
    """Return the message of an engine's error, shortened; "" where it has none."""
    body = error.body if isinstance(error.body, dict) else {}
    inner = body.get("error")
    said = body.get("message") or (inner.get("message") if isinstance(inner, dict) else inner) or body.get("detail")
    return " ".join(said.split())[:500] if isinstance(said, str) else ""


def _param(body: object) -> str | None:
    param = body.get("param") if isinstance(body, dict) else None
    return param if isinstance(param, str) else None
