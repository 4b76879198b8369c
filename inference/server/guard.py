"""The guard in front of a server: who may ask, under which name, from which page.

Host       localhost, a plain address, or a name that was allowed: a page of a stranger whose name suddenly resolves
           to this machine (DNS rebinding) is refused
Origin     set by browsers for pages: refused, unless the page was allowed, or is the server's own
key        compared in constant time; /health alone can be asked without
"""

import hmac
import ipaddress
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from .limits import Access
from .refusals import RefusalError

OPEN_PATHS = ("/health",)
LOCAL_NAMES = ("localhost",)


class Guard:
    """The middleware that refuses requests before anything reads them."""

    def __init__(self, app: ASGIApp, access: Access) -> None:
        self.app, self.access = app, access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or answer it by its refusal."""
        if scope["type"] == "http":
            try:
                self._check(scope["path"], Headers(scope=scope))
            except RefusalError as refusal:
                response = JSONResponse(refusal.body(), refusal.status, dict(refusal.headers))
                await response(scope, receive, send)
                return
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
            return
        await self.app(scope, receive, send)

    def _check(self, path: str, headers: Headers) -> None:
        hosts = headers.getlist("host")
        if len(hosts) != 1 or not self._is_known(hosts[0]):
            raise RefusalError(
                "The server is not known under the name in the Host header; call it by its address, or start it with "
                "--allow-host NAME.",
                403,
                code="host_not_allowed",
            )
        origin = headers.get("origin")
        is_own = self.access.own_pages and urlsplit(origin or "").netloc == hosts[0]
        if origin is not None and not is_own and origin not in self.access.origins:
            raise RefusalError(
                "Pages of this origin may not call the server; start it with --allow-origin ORIGIN.",
                403,
                code="origin_not_allowed",
            )
        if self.access.api_key is not None and path not in OPEN_PATHS:
            scheme, _, key = headers.get("authorization", "").partition(" ")
            is_right = hmac.compare_digest(key.strip().encode(), self.access.api_key.encode())
            if scheme.lower() != "bearer" or not is_right:
                raise RefusalError(
                    "The API key is missing or wrong; send it as Authorization: Bearer KEY.",
                    401,
                    code="invalid_api_key",
                    headers={"WWW-Authenticate": "Bearer"},
                )

    def _is_known(self, host: str) -> bool:
        try:
            name = urlsplit(f"//{host}").hostname or ""
        except ValueError:
            return False
        return name in (*LOCAL_NAMES, *map(str.lower, self.access.hosts)) or is_address(name)


def is_address(name: str) -> bool:
    """Tell whether a host is given as an address and not by a name."""
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
