"""Write answers in parts: the parts of a round are asked for at the same time, round after round.

1. wait for the next round of the plan
2. share the tokens that are left among the parts that are known and not written, by their lengths
3. ask for every part of the round that is not kept, as one chat each
4. a part that fails leaves the others of its round to end; then the answer fails, and its error has all parts that
   were written, in the form in which a plan can be sent again
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ..server.event_stream import refusal_of
from ..server.followed import Followed
from ..server.limits import Limits
from ..server.refusals import FAILED, RefusalError
from .engine_client import Completion, EngineClient
from .outline_request import text_of
from .part_request import Chat, part_chat
from .parts_answer import PartsAnswer


@dataclass(frozen=True)
class PartsRequest:
    """How the parts of an answer are asked for.

    chat: the client's.
    fields: of every request, such as the temperature.
    seed: of the first answer; the others have those that follow.
    limit_name: the field that bounds tokens.
    client: whose turn it is.
    """

    chat: Chat
    fields: dict[str, Any]
    seed: int | None = None
    limit_name: str = "max_tokens"
    client: str = ""


@dataclass(eq=False)
class PartsWriter:
    """Writes the parts of one answer."""

    engine: EngineClient
    request: PartsRequest
    answer: PartsAnswer
    seed: int | None
    tasks: list[asyncio.Task[None]] = field(default_factory=list)

    @property
    def _is_done(self) -> bool:
        """Whether nothing more needs to be written: a text to stop at has come, or no token is left."""
        return self.answer.settled.is_stopped or self.answer.lacks_room

    async def write(self, exchange: "PartsExchange") -> None:
        """Write round after round; the answer has the error where that fails.

        Args:
            exchange: told of everything new.
        """
        answer = self.answer
        try:
            while not self._is_done:
                parts = await answer.source.round(len(answer.written.rounds))  # 1
                if parts is None:
                    break
                answer.begin(parts)
                exchange.tell(answer.has_news)
                if not self._is_done:
                    await self._write_round(exchange)
            answer.end()
        except Exception as error:
            answer.error = replace(refusal_of(error), beside={"plan": answer.written.kept()})  # 4
        exchange.tell(True)

    async def _write_round(self, exchange: "PartsExchange") -> None:
        """Write the parts of the round that has begun.

        Raises:
            Exception: the first failure of one, once all have ended.
        """
        answer = self.answer
        todo = [number for number, text in enumerate(answer.written.texts) if text is None]
        shares = self._shares(todo)  # 2
        if shares is None:
            answer.lacks_room = True
            return
        seen = list(answer.written.texts)
        parts = [self._write_part(number, shares[number], seen, exchange) for number in todo]  # 3
        self.tasks = [asyncio.create_task(part) for part in parts]
        try:
            ends = await asyncio.gather(*self.tasks, return_exceptions=True)
        finally:
            for task in self.tasks:
                task.cancel()
        failed = [end for end in ends if isinstance(end, Exception)]
        if failed and not self._is_done:
            raise failed[0]

    def _shares(self, todo: Sequence[int]) -> dict[int, int | None] | None:
        """Return the tokens that each part may have; None where there are not enough."""
        left = self.answer.tokens_left
        if left is None:
            return dict.fromkeys(todo)
        if left < len(todo):
            return None
        lengths = self.answer.written.open_lengths()
        free, total = left - len(todo), sum(lengths.values())
        return {number: 1 + free * lengths[number] // total for number in todo}

    async def _write_part(
        self, number: int, share: int | None, seen: Sequence[str | None], exchange: "PartsExchange"
    ) -> None:
        answer, request = self.answer, self.request
        chat = part_chat(request.chat, answer.source.rounds, seen, number)
        fields = {"messages": chat, **request.fields}
        fields |= {} if share is None else {request.limit_name: share}
        fields |= {} if self.seed is None else {"seed": self.seed}
        answer.finish_part(number, await self._with_text(fields), share)
        exchange.tell(answer.has_news)
        if self._is_done:  # whatever the others write stands behind the end
            for task in self.tasks:
                if task is not asyncio.current_task():
                    task.cancel()

    async def _with_text(self, fields: dict[str, Any]) -> Completion:
        """Return a completion that has a text, or was cut before one.

        Raises:
            RefusalError: the engine fails, or writes nothing.
        """
        for _ in range(self.engine.address.retries + 1):
            completion = await self.engine.complete("chat", fields, self.request.client)
            if text_of(completion).strip() or completion["choices"][0].get("finish_reason") not in (None, "stop"):
                return completion
        message = "The engine behind this server wrote nothing for a part; send the plan again."
        raise RefusalError(message, 502, code="engine_failed", kind=FAILED)


class PartsExchange(Followed[PartsAnswer]):
    """The answers in parts to one HTTP request.

    Args:
        answers: in the order of the choices.
        engine: writes the parts.
        request: how they are asked for.
        limits: say when they must have ended.
    """

    def __init__(
        self, answers: Sequence[PartsAnswer], engine: EngineClient, request: PartsRequest, limits: Limits
    ) -> None:
        super().__init__(answers, limits)
        seeds = [None if request.seed is None else request.seed + number for number in range(len(answers))]
        writers = [PartsWriter(engine, request, *pair) for pair in zip(answers, seeds, strict=True)]
        self._tasks = [asyncio.create_task(writer.write(self)) for writer in writers]

    async def close(self) -> None:
        """Drop the answers that have not ended, with the requests that run for them."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
