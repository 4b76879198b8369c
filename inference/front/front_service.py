"""The way of a request in front of another engine: it is planned, its parts are written there, and joined here.

Who plans?      the client, where the request has a `plan`; else our model, if the server was given one; else the
                engine's model, which is asked for an outline (outline_request.py)
Which answers?  chats; a question for which no plan of two parts comes is passed on as it stands, and so is one that has
                a use for an answer in one piece only (front_bodies.py)
How many?       `limits.live` requests run at the engine at a time, in fair turns; `limits.queue` answers more may wait
"""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass

from fastapi import Request as HttpRequest
from starlette.responses import JSONResponse, Response

from ..answer import Checkpoint
from ..server.asked_fields import chat_of
from ..server.event_stream import EventStream, refusal_of, stream_of
from ..server.limits import Limits
from ..server.places import Places
from ..server.refusals import RefusalError, timed_out
from ..server.responses import Shape
from ..server.service import client_of, unless_gone, whole
from .engine_client import EngineAddress, EngineClient, Kind
from .front_bodies import (
    DRAWING,
    PASSED,
    FrontBody,
    FrontChatBody,
    FrontTextBody,
    check_front,
    fields_for,
    limit_of,
    wants_plan,
)
from .front_metrics import FrontMetrics
from .outline_request import OutlineAsker
from .own_planner import OwnPlanner
from .part_request import Chat
from .parts_answer import PartsAnswer
from .parts_exchange import PartsExchange, PartsRequest
from .plain_answer import events_of_chunks, kept_alive, with_outline
from .planned_parts import PlanSource, Round, given_rounds
from .turns import Turns

LIVE = 32  # requests that run at the engine, where nobody says otherwise
ENGINE = "engine"  # for whose answers places are counted


@dataclass(frozen=True)
class FrontService:
    """An engine elsewhere, who plans for it, and the door.

    planner: our model; None where the engine's is asked for outlines.
    """

    engine: EngineClient
    planner: OwnPlanner | None
    outlines: OutlineAsker
    places: Places
    metrics: FrontMetrics
    limits: Limits

    @classmethod
    def of(cls, address: EngineAddress, planner: Checkpoint | None, limits: Limits) -> "FrontService":
        """Return a service in front of an engine; nothing is started or asked."""
        live = limits.live or LIVE
        turns = Turns(live)
        engine, metrics = EngineClient(address, turns), FrontMetrics(turns)
        places = Places(limits, {ENGINE: live + limits.queue})
        own = None if planner is None else OwnPlanner(planner, limits)
        return cls(engine, own, OutlineAsker(engine, metrics.count_outline), places, metrics, limits)

    async def answer(self, body: FrontBody, http: HttpRequest) -> Response:
        """Answer a chat, or go on with texts.

        Raises:
            RefusalError: anything that cannot be had, no place, or a failure of the engine.
        """
        check_front(body, self.limits)
        asked = _Asked.of(body, client_of(body, http), self.limits)
        await self.engine.check_model(body.model)
        self.places.take(ENGINE, asked.count)
        held = AsyncExitStack()  # whatever this request holds, until its response is out
        held.callback(self._leave, asked.count, time.monotonic())
        try:
            response = await unless_gone(self._response(asked, held), http)
        except BaseException:
            await held.aclose()
            raise
        if not isinstance(response, EventStream):
            await held.aclose()
        return response

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Run the planner, and close everything at the end."""
        if self.planner is not None:
            self.planner.start()
        with suppress(RefusalError):  # the log says why; the engine may come later
            await self.engine.check_reached()
        try:
            yield
        finally:
            if self.planner is not None:
                await asyncio.to_thread(self.planner.close)
            await self.engine.close()

    def _leave(self, count: int, started: float) -> None:
        self.places.leave(ENGINE, count)
        self.places.remember(started)

    async def _response(self, asked: "_Asked", held: AsyncExitStack) -> Response:
        """Return the response, whole or as a stream that closes what is held.

        Raises:
            RefusalError: the engine fails, or the time is up.
        """
        try:
            async with asyncio.timeout(asked.deadline - time.monotonic()):
                source = await self._plan(asked)
                held.callback(source.close)
                if isinstance(asked.body, FrontChatBody) and (asked.given is not None or is_worth_it(source)):
                    return await self._in_parts(asked, asked.body, source, held)
                source.close()
                return await self._in_one_piece(asked, source, held)
        except TimeoutError as error:
            raise timed_out(self.limits.answer_seconds) from error

    async def _plan(self, asked: "_Asked") -> PlanSource:
        """Return the plan of an answer, as far as it is known; without rounds where it should have none."""
        if asked.given is not None:
            return PlanSource(asked.given)
        if not wants_plan(asked.body):
            return PlanSource()
        if self.planner is None:
            return await self.outlines.plan(asked.body.model, asked.chat, asked.client)
        try:
            source = await self.planner.plan(asked.chat, asked.client)
        except RefusalError:  # too long for our model, which does not mean for the engine's
            source = PlanSource()
        except Exception as error:
            raise refusal_of(error) from error
        self.metrics.count_outline("parts" if is_worth_it(source) else "plain")
        return source

    async def _in_parts(
        self, asked: "_Asked", body: FrontChatBody, source: PlanSource, held: AsyncExitStack
    ) -> Response:
        limit_name, most = limit_of(body)
        answers = [
            PartsAnswer(source, tuple(body.stop or ()), body.stream_plan == "parts", most, counts_plan=number == 0)
            for number in range(asked.count)
        ]
        request = PartsRequest(asked.chat, fields_for(body, DRAWING), body.seed, limit_name, asked.client)
        exchange = PartsExchange(answers, self.engine, request, self.limits)
        exchange.deadline = asked.deadline
        held.push_async_callback(exchange.close)
        shape = Shape(body.model, chat=True, tells_usage=asked.tells_usage)
        return stream_of(exchange, shape, held.aclose) if body.stream else await whole(exchange, shape)

    async def _in_one_piece(self, asked: "_Asked", outline: PlanSource, held: AsyncExitStack) -> Response:
        fields = fields_for(asked.body, PASSED) | ({"messages": asked.chat} if asked.chat else {})
        if not asked.body.stream:
            completion = await self.engine.complete(asked.kind, fields, asked.client)
            return JSONResponse(with_outline(completion, outline))
        chunks = await held.enter_async_context(self.engine.stream(asked.kind, fields, asked.client))
        events = kept_alive(events_of_chunks(chunks, outline), self.limits, asked.deadline)
        return EventStream(events, held.aclose, self.limits.stalled_seconds)


@dataclass(frozen=True)
class _Asked:
    """A checked request.

    chat: the messages of a chat; none for texts.
    given: the plan that the client gives; None where it gives none.
    deadline: of `time.monotonic`, when the answers must have ended.
    """

    body: FrontBody
    client: str
    chat: Chat
    given: list[Round] | None
    deadline: float

    @classmethod
    def of(cls, body: FrontBody, client: str, limits: Limits) -> "_Asked":
        """Return a request.

        Raises:
            RefusalError: a chat or a plan that cannot be used.
        """
        chat, given = Chat(), None
        if isinstance(body, FrontChatBody):
            chat = chat_of(body.messages)
            given = None if body.plan is None else given_rounds(body.plan)
        return cls(body, client, chat, given, time.monotonic() + limits.answer_seconds)

    @property
    def kind(self) -> Kind:
        return "chat" if isinstance(self.body, FrontChatBody) else "text"

    @property
    def count(self) -> int:
        prompts = len(self.body.prompt) if isinstance(self.body, FrontTextBody) else 1
        return prompts * (self.body.n or 1)

    @property
    def tells_usage(self) -> bool:
        return bool(self.body.stream_options and self.body.stream_options.include_usage)


def is_worth_it(source: PlanSource) -> bool:
    """Tell whether a plan has two parts, or may come to have them."""
    return sum(map(len, source.rounds)) > 1 or not source.is_complete
