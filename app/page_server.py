"""The server of the page: one process with one engine thread; no telemetry, and nothing comes from other machines."""

import asyncio
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from fastapi import FastAPI
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.responses import HTMLResponse, PlainTextResponse, Response

from ..inference.answer import Checkpoint
from ..inference.replay.page import replay_page
from ..inference.server.guard import Guard
from ..inference.server.limits import Access, Limits
from ..inference.server.run_server import KEEP_CONNECTION_SECONDS, LARGEST_HEADERS, Address
from ..inference.server.service import Service
from .desk import Desk

TELEMETRY_OFF = {"GRADIO_ANALYTICS_ENABLED": "False", "HF_HUB_DISABLE_TELEMETRY": "1", "DISABLE_TELEMETRY": "1"}
# Gradio keeps 10,000 events and makes a table of all after each, for a dashboard that the page does not show.
STATISTICS_OFF = {"GRADIO_ANALYTICS_MAX_EVENTS": "1", "GRADIO_ANALYTICS_CACHE_FREQUENCY": str(2**62)}
DOWNLOAD = {"Content-Disposition": 'attachment; filename="replay.html"', "X-Content-Type-Options": "nosniff"}


def page_limits() -> Limits:
    """Return the bounds of a page: they are narrower than a server's."""
    return Limits(queue=64, choices=2, prompt_tokens=2048, answer_tokens=1024, answer_seconds=300, shutdown_seconds=2)


@dataclass(frozen=True)
class Showing:
    """Where and how the page is shown.

    is_public: others than this machine may come, under any name, and nobody is asked who they are.

    Raises:
        ValueError: other machines could come, and the page is not public.
    """

    address: Address = field(default_factory=lambda: Address(port=7860))
    limits: Limits = field(default_factory=page_limits)
    is_public: bool = False

    def __post_init__(self) -> None:
        if not self.address.is_local and not self.is_public:
            raise ValueError(
                f"Other machines reach {self.address.host}, and the page asks nobody for a key; give --public to let "
                "everybody in, or listen on 127.0.0.1."
            )


def build_page_server(name: str, checkpoint: Checkpoint, showing: Showing) -> FastAPI:
    """Return the server of a checkpoint's page.

    Its engine runs from the start to the end of the app's lifespan. `app.state.desk` is the `Desk`.
    """
    os.environ.update(TELEMETRY_OFF | STATISTICS_OFF)  # read when Gradio is imported
    import gradio

    from .page_style import page_theme
    from .stage import STYLE
    from .web_page import build_page

    desk = Desk(Service.of({name: checkpoint}, showing.limits))

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        desk.service.engine.start()
        try:
            yield
        finally:
            await asyncio.to_thread(desk.service.admission.close)

    app = FastAPI(lifespan=lifespan, openapi_url=None, docs_url=None, redoc_url=None)
    app.state.desk = desk

    @app.get("/replay/{answer}")
    def replay(answer: str) -> Response:
        try:
            finished = desk.remembered.find(answer)
        except ValueError as error:
            return PlainTextResponse(f"{error}\n", 404)
        return HTMLResponse(replay_page(*finished.documents(), title=str(finished.prompt)), headers=DOWNLOAD)

    @app.get("/metrics")
    def metrics() -> Response:
        return Response(desk.service.metrics.text(), headers={"Content-Type": CONTENT_TYPE_LATEST})

    if not showing.is_public:
        app.add_middleware(Guard, access=Access(own_pages=True))
    return gradio.mount_gradio_app(
        app, build_page(desk), "/", server_name=showing.address.host, server_port=showing.address.port,
        footer_links=[], run_history=False, show_error=False, ssr_mode=False, theme=page_theme(), css_paths=[STYLE],
    )  # fmt: skip


def run_page(name: str, checkpoint: Checkpoint, showing: Showing) -> None:
    """Show the page of a checkpoint until SIGINT or SIGTERM, and print its address.

    Raises:
        ValueError: the address cannot be listened on.
    """
    import uvicorn

    with opened_socket(showing.address) as listening:
        config = uvicorn.Config(
            build_page_server(name, checkpoint, showing),
            ws="none",
            access_log=False,
            log_level="warning",
            server_header=False,
            h11_max_incomplete_event_size=LARGEST_HEADERS,
            timeout_keep_alive=KEEP_CONNECTION_SECONDS,
            timeout_graceful_shutdown=max(1, round(showing.limits.shutdown_seconds)),
        )
        host, port = listening.getsockname()[:2]
        shown = f"[{host}]" if ":" in host else host
        print(f"The page of {name} is on http://{shown}:{port} (Ctrl-C ends it)", flush=True)
        uvicorn.Server(config).run(sockets=[listening])


def opened_socket(address: Address) -> socket.socket:
    """Return a socket that listens.

    Raises:
        ValueError: the address cannot be listened on.
    """
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    try:
        return socket.create_server((address.host, address.port), family=family)
    except OSError as error:
        raise ValueError(
            f"{address.host}:{address.port} cannot be listened on ({error.strerror}); choose another --port."
        ) from error
