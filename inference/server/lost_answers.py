"""Errors of Ray's HTTP proxy in the form of the server's own: of answers whose replica was lost, and of its own.

Ray's proxy says nothing where a replica ends in the middle of an answer, and answers in plain text where there is none.
It imports `middlewares` by the name in `SETTING`.
"""

from starlette.datastructures import Headers
from starlette.middleware import Middleware
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .event_stream import EventStream, event_text
from .refusals import FAILED, RefusalError

SETTING = {"RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH": f"{__name__}.middlewares"}
RAYS_OWN_PATHS = "/-/"
ORDERS = (  # headers by which a client would tell Ray what to do
    b"x-request-disconnect-disabled",
    b"x-request-timeout-seconds",
    b"serve-multiplexed-model-id",
    b"x-session-id",
)


def lost() -> RefusalError:
    """Return the refusal of a request whose replica was lost."""
    message = "The process that wrote this answer has ended before the answer did; ask again."
    return RefusalError(message, 503, code="replica_lost", kind=FAILED)


def away() -> RefusalError:
    """Return the refusal of a request while no replica answers."""
    message = "The server is starting or stopping, and nothing answers at the moment; try again later."
    return RefusalError(message, 503, kind=FAILED)


class ClearErrors:
    """The middleware of Ray's proxy: every request gets an answer or an error, as clients of the server read them."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on; mend its response where that is none, or no whole one."""
        if scope["type"] != "http" or scope["path"].startswith(RAYS_OWN_PATHS):
            await self.app(scope, receive, send)
            return
        headers = [(name, value) for name, value in scope["headers"] if name.replace(b"_", b"-") not in ORDERS]
        passed = _Passed(send)
        await self.app({**scope, "headers": headers}, receive, passed)
        if passed.refusal is None and not passed.has_started:
            passed.refusal = lost()
        if passed.refusal is not None:
            await JSONResponse(passed.refusal.body(), passed.refusal.status)(scope, receive, send)
        elif passed.is_stream and not passed.is_whole:
            await send({"type": "http.response.body", "body": event_text(lost().body()).encode(), "more_body": False})


class _Passed:
    """The response of a request as far as it was passed on; Ray's own errors are held back."""

    def __init__(self, send: Send) -> None:
        self.send = send
        self.has_started = self.is_stream = self.is_whole = False
        self.refusal: RefusalError | None = None

    async def __call__(self, message: Message) -> None:
        """Pass a message of the response on."""
        if message["type"] == "http.response.start":
            kind = Headers(raw=message["headers"]).get("content-type", "")
            if message["status"] >= 400 and not kind.startswith(JSONResponse.media_type):
                self.refusal = away()
            self.has_started = True
            self.is_stream = kind.startswith(EventStream.media_type)
        elif message["type"] == "http.response.body":
            self.is_whole = not message.get("more_body", False)
        if self.refusal is None:
            await self.send(message)


def middlewares() -> list[Middleware]:
    """Return the middleware of Ray's proxy."""
    return [Middleware(ClearErrors)]
