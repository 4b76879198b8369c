"""The routes in front of another engine, a subset of those of our own server (server/app.py), behind the same guard.

POST /v1/chat/completions   POST /v1/completions   GET /v1/models   GET /v1/models/{name}   GET /health   GET /metrics
"""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter, FastAPI, Request
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.responses import JSONResponse, Response

from ..answer import Checkpoint
from ..server.app import guarded_app
from ..server.body_reading import reader_of
from ..server.limits import Access, Limits
from ..server.refusals import RefusalError
from ..server.run_server import Serving, run_app
from .engine_client import EngineAddress
from .front_bodies import FrontChatBody, FrontTextBody
from .front_service import FrontService

logger = logging.getLogger(__name__)
AWAY = (503, 504)  # statuses by which the engine is told to be away


@dataclass(frozen=True)
class Front:
    """An engine elsewhere, and our model that plans for it; None where the engine's model is asked for outlines."""

    engine: EngineAddress
    planner: Checkpoint | None = None


def run_front(front: Front, serving: Serving) -> None:
    """Serve in front of an engine until SIGINT or SIGTERM."""
    run_app(build_front(front, serving.limits, serving.access), serving)


def build_front(front: Front, limits: Limits | None = None, access: Access | None = None) -> FastAPI:
    """Return the server in front of an engine. `app.state.service` is the `FrontService`."""
    service = FrontService.of(front.engine, front.planner, limits or Limits())

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with service.running():
            yield

    app = guarded_app([routes(service)], lifespan, access or Access(), service.metrics.responses)
    app.state.service = service
    return app


def routes(service: FrontService) -> APIRouter:
    """Return the routes."""
    router = APIRouter()
    read_chat, read_text = reader_of(FrontChatBody, service.limits), reader_of(FrontTextBody, service.limits)

    @router.post("/v1/chat/completions")
    async def chat_completions(http: Request) -> Response:
        body, _ = await read_chat(http)
        return await service.answer(body, http)

    @router.post("/v1/completions")
    async def completions(http: Request) -> Response:
        body, _ = await read_text(http)
        return await service.answer(body, http)

    @router.get("/v1/models")
    async def list_models() -> Response:
        names = await service.engine.names()
        return JSONResponse({"object": "list", "data": [_described(*one) for one in names.items()]})

    @router.get("/v1/models/{name:path}")
    async def one_model(name: str) -> Response:
        await service.engine.check_model(name)
        return JSONResponse(_described(name, (await service.engine.names()).get(name, {})))

    @router.get("/health")
    async def health() -> Response:
        if service.planner is not None and not service.planner.engine.is_alive:
            return JSONResponse({"status": "stopped"}, 503)
        try:
            await service.engine.check_reached()
        except RefusalError as refusal:
            if refusal.status in AWAY:
                return JSONResponse({"status": "engine away"}, 503)
        return JSONResponse({"status": "ok"})

    @router.get("/metrics")
    async def metrics() -> Response:
        return Response(service.metrics.text(), headers={"Content-Type": CONTENT_TYPE_LATEST})

    return router


def _described(name: str, told: dict[str, Any]) -> dict[str, Any]:
    """Return a model as clients read it: what the engine tells of it, but for anything beside OpenAI's fields."""
    created, owner = told.get("created"), told.get("owned_by")
    return {
        "id": name,
        "object": "model",
        "created": created if isinstance(created, int) else 0,
        "owned_by": owner if isinstance(owner, str) else "engine",
    }
