"""The server's routes on FastAPI: OpenAI's, and a few of our own. Nothing here loads, unloads or resets anything.

POST /v1/chat/completions   POST /v1/completions   GET /v1/models   GET /v1/models/{name}
POST /tokenize              GET /health            GET /metrics     POST /load_model (says that a model is ready)
"""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

from fastapi import APIRouter, FastAPI, Request
from fastapi.middleware.cors import CORSMiddleware
from prometheus_client import CONTENT_TYPE_LATEST, Counter
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response

from ..answer import Checkpoint
from .bodies import Body, ChatBody, CompletionBody, TokenizeBody
from .body_reading import reader_of
from .guard import Guard
from .limits import Access, Limits
from .refusals import FAILED, INVALID, RefusalError, failure
from .served_models import ServedModel, find_model
from .server_metrics import CountResponses
from .service import Service

OWNER = "planned-diffusion"


class NamedModel(Body):
    """The body of /load_model."""

    model: str


def build_app(
    checkpoints: Mapping[str, Checkpoint], limits: Limits | None = None, access: Access | None = None
) -> FastAPI:
    """Return the server of checkpoints, by the names under which they are served.

    Its engine runs from the start to the end of the app's lifespan. `app.state.service` is the `Service`.
    """
    limits, access = limits or Limits(), access or Access()
    service = Service.of(checkpoints, limits)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        service.engine.start()
        try:
            yield
        finally:
            await asyncio.to_thread(service.admission.close)

    app = guarded_app([answer_routes(service), other_routes(service)], lifespan, access, service.metrics.responses)
    app.state.service = service
    return app


def guarded_app(
    routers: Sequence[APIRouter], lifespan: Callable[[FastAPI], Any], access: Access, responses: Counter
) -> FastAPI:
    """Return an app with routes behind the guard; errors are told in OpenAI's form.

    Args:
        responses: counts by path and status.
    """
    app = FastAPI(title=OWNER, lifespan=lifespan, openapi_url=None, docs_url=None, redoc_url=None)
    for router in routers:
        app.include_router(router)
    app.add_exception_handler(RefusalError, _refused)
    app.add_exception_handler(HTTPException, _not_routed)
    app.add_exception_handler(Exception, _failed)
    app.add_middleware(Guard, access=access)
    if access.origins:
        app.add_middleware(
            CORSMiddleware, allow_origins=list(access.origins), allow_methods=["GET", "POST"], allow_headers=["*"]
        )
    app.add_middleware(CountResponses, responses=responses)
    return app


def answer_routes(service: Service) -> APIRouter:
    """Return the routes that answer."""
    router, limits = APIRouter(), service.limits
    read_chat, read_completion = reader_of(ChatBody, limits), reader_of(CompletionBody, limits)

    @router.post("/v1/chat/completions")
    async def chat_completions(http: Request) -> Response:
        return await service.answer(*await read_chat(http), http)

    @router.post("/v1/completions")
    async def completions(http: Request) -> Response:
        return await service.answer(*await read_completion(http), http)

    return router


def other_routes(service: Service) -> APIRouter:
    """Return the routes that tell something about the server or its models."""
    router, limits = APIRouter(), service.limits
    read_text, read_name = reader_of(TokenizeBody, limits), reader_of(NamedModel, limits)

    @router.get("/v1/models")
    async def list_models() -> Response:
        return JSONResponse({"object": "list", "data": [_described(model) for model in service.models.values()]})

    @router.get("/v1/models/{name:path}")
    async def one_model(name: str) -> Response:
        return JSONResponse(_described(find_model(service.models, name)))

    @router.post("/tokenize")
    async def tokenize(http: Request) -> Response:
        body, _ = await read_text(http)
        return JSONResponse(await service.tokenize(body))

    @router.post("/load_model")
    async def load_model(http: Request) -> Response:
        body, _ = await read_name(http)
        find_model(service.models, body.model)
        ready = json.dumps({"status": "ready", "cached": True})
        return Response(f"data: {ready}\n\n", media_type="text/event-stream")

    @router.get("/health")
    async def health() -> Response:
        alive = service.engine.is_alive
        return JSONResponse({"status": "ok" if alive else "stopped"}, 200 if alive else 503)

    @router.get("/metrics")
    async def metrics() -> Response:
        return Response(service.metrics.text(), headers={"Content-Type": CONTENT_TYPE_LATEST})

    return router


def _described(model: ServedModel) -> dict[str, Any]:
    return {"id": model.name, "object": "model", "created": model.created, "owned_by": OWNER}


async def _refused(http: Request, refusal: Exception) -> Response:
    assert isinstance(refusal, RefusalError)
    return JSONResponse(refusal.body(), refusal.status, dict(refusal.headers))


async def _not_routed(http: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    what = {404: "There is no such address", 405: "This address is not asked by that method"}
    kind = INVALID if error.status_code < 500 else FAILED
    message = f"{what.get(error.status_code, 'The request cannot be answered')}; see the server's documentation."
    return JSONResponse(RefusalError(message, kind=kind).body(), error.status_code, dict(error.headers or {}))


async def _failed(http: Request, error: Exception) -> Response:
    return JSONResponse(failure().body(), failure().status)
