"""The way of a checked request: it is prepared, joins the engine, and is answered whole or as a stream."""

import asyncio
from collections.abc import Coroutine, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from fastapi import Request as HttpRequest
from starlette.responses import JSONResponse, Response

from ..answer import Checkpoint
from ..batch.batcher import batch_size_on
from ..form import form_fields
from .asked_fields import chat_of, fields_of, logprobs_of, rounds_of, schema_of
from .bodies import Asking, ChatBody, CompletionBody, NamedSchema, TokenizeBody
from .engine_thread import EngineThread
from .event_stream import gone, refusal_of, stream_of
from .exchange import Admission
from .followed import Followed
from .limits import Limits
from .places import Places
from .refusals import RefusalError, timed_out
from .responses import Shape
from .served_models import ServedModel, find_model
from .server_metrics import Metrics
from .written_answer import WrittenAnswer

CLIENT_LEFT = 499  # the status of a response that nobody reads, in metrics


@dataclass(frozen=True)
class Service:
    """The models of a server, its engine thread and its door."""

    models: Mapping[str, ServedModel]
    admission: Admission
    limits: Limits

    @classmethod
    def of(cls, checkpoints: Mapping[str, Checkpoint], limits: Limits) -> "Service":
        """Return a service of checkpoints by name; its engine is not started."""
        models = {name: ServedModel(name, checkpoint, limits) for name, checkpoint in checkpoints.items()}
        live = {
            name: limits.live or batch_size_on(checkpoint.model.device.type) for name, checkpoint in checkpoints.items()
        }
        engine = EngineThread(checkpoints, live)
        places = {name: count + limits.queue for name, count in live.items()}
        return cls(models, Admission(engine, limits, Metrics(engine), Places(limits, places)), limits)

    @property
    def engine(self) -> EngineThread:
        """The thread that runs the models."""
        return self.admission.engine

    @property
    def metrics(self) -> Metrics:
        """The counters."""
        return self.admission.metrics

    async def answer(self, body: ChatBody | CompletionBody, own: dict[str, Any], http: HttpRequest) -> Response:
        """Answer a chat, or go on with texts.

        Args:
            own: the fields of `generate` that stand in the body beside OpenAI's.

        Raises:
            RefusalError: anything that cannot be had, or no place.
        """
        model = find_model(self.models, body.model)
        asked = _Asked(
            model, body, fields_of(body, own, self.limits), logprobs_of(body), rounds_of(body.plan), schema_of(body)
        )
        exchange = await self.admission.open(
            model, asked.per_prompt * asked.prompts, asked.answers, client_of(body, http)
        )
        tells_usage = bool(body.stream_options and body.stream_options.include_usage)
        shape = Shape(model.name, isinstance(body, ChatBody), tells_usage, asked.per_prompt)
        if body.stream:
            return stream_of(exchange, shape, exchange.drop)
        try:
            return await unless_gone(whole(exchange, shape), http)
        finally:
            exchange.close()

    async def tokenize(self, body: TokenizeBody) -> dict[str, Any]:
        """Return the token ids of a text or a chat, as a request with it would have them.

        Raises:
            RefusalError: both or neither of them, or too many tokens.
        """
        model = find_model(self.models, body.model)
        if (body.prompt is None) == (body.messages is None):
            raise RefusalError("The body needs either prompt or messages; give one of them.", param="prompt")
        if body.messages is not None:
            ids = await self.admission.prepared(partial(model.encode_chat, chat_of(body.messages)))
        else:
            ids = await self.admission.prepared(partial(model.encode_text, body.prompt or ""))
        return {"count": len(ids), "max_model_len": model.positions + 1, "tokens": ids}


@dataclass(frozen=True)
class _Asked:
    """A checked request, as the thread that encodes prompts gets it."""

    model: ServedModel
    body: ChatBody | CompletionBody
    fields: dict[str, Any]
    logprobs: int | None
    plan: list[Any] | None
    schema: NamedSchema | None

    @property
    def per_prompt(self) -> int:
        return self.body.n or 1

    @property
    def prompts(self) -> int:
        return 1 if isinstance(self.body, ChatBody) else len(self.body.prompt)

    def answers(self) -> list[WrittenAnswer]:
        """Return the answers that are to be written, prompt after prompt, each with the engine's request."""
        if isinstance(self.body, ChatBody):
            encoded = [self.model.encode_chat(chat_of(self.body.messages))]
        else:
            encoded = [self.model.encode_text(prompt) for prompt in self.body.prompt]
        stops, plan, form, fields = tuple(self.body.stop or ()), self.plan, None, self.fields
        if self.schema is not None:
            form, fields = self.model.form(self.schema.schema_), form_fields(fields)
            plan = [[[self.schema.name, form.pieces]]]
        requests = [
            replace(request, sampling=replace(request.sampling, top_logprobs=self.logprobs))
            for ids in encoded
            for request in self.model.requests(ids, fields, self.per_prompt, stops, plan)
        ]
        return [WrittenAnswer(self.model, request, stops, self.body.stream_plan, form) for request in requests]


def client_of(body: Asking, http: HttpRequest) -> str:
    """Return who takes turns with others: the `user` of a body, at the address from which it came."""
    address = http.client.host if http.client else ""
    return f"{address} {body.user if isinstance(body.user, str) else ''}"


async def whole(exchange: Followed[Any], shape: Shape) -> Response:
    """Wait for answers and return them in one response.

    Raises:
        RefusalError: the time is up, or an answer failed.
    """
    in_time = await exchange.finish()
    if exchange.error is not None:
        raise refusal_of(exchange.error)
    if not in_time:
        raise timed_out(exchange.limits.answer_seconds)
    return JSONResponse(shape.whole(exchange.answers))


async def unless_gone(answering: Coroutine[Any, Any, Response], http: HttpRequest) -> Response:
    """Return the response that a coroutine makes; it is cancelled as soon as the client has left."""
    working, leaving = asyncio.ensure_future(answering), asyncio.ensure_future(gone(http))
    try:
        await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
        return working.result() if working.done() else Response(status_code=CLIENT_LEFT)
    finally:
        for task in (working, leaving):
            task.cancel()
            with suppress(asyncio.CancelledError, RefusalError):
                await task
