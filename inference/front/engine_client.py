"""Another engine: any server with OpenAI's API. How it is reached, asked, and how its failures are told to clients.

The client library repeats requests that may pass (408, 409, 429, 5xx, lost connections), with growing pauses. A reply
that is no completion (a web page, other JSON) is asked for again as often. Clients of this server hear neither the
engine's address nor its key; the log has the reason of a failure.
"""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

import openai

from ..server.refusals import RefusalError
from .engine_failures import NoCompletionError, told_failures
from .turns import Turns

CONNECT_SECONDS = 5.0
NAMES_SECONDS = 5.0  # for which the names of the engine's models are taken to stay
FIRST_PAUSE, LONGEST_PAUSE = 0.25, 4.0  # seconds before asking again where no completion came
OTHER_FIELDS = ("top_k", "min_p")  # that the client library does not know

Kind = Literal["chat", "text"]
Completion = dict[str, Any]


@dataclass(frozen=True)
class EngineAddress:
    """Where another engine is, and how it is asked.

    url: of its API; it usually ends in /v1.
    key: sent as `Authorization: Bearer KEY`; None for an engine that needs none.
    seconds: time that one request may take.
    retries: times that a request is repeated.
    models: names of its models that are served; empty for all that it lists.

    Raises:
        ValueError: no such URL, or a number out of range.
    """

    url: str
    key: str | None = field(default=None, repr=False)
    seconds: float = 300.0
    retries: int = 2
    models: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.url.startswith(("http://", "https://")):
            raise ValueError(f"--engine is {self.url!r}; give a URL such as http://localhost:8001/v1.")
        if self.seconds <= 0:
            raise ValueError(f"--engine-seconds is {self.seconds}; give a number above 0.")
        if self.retries < 0:
            raise ValueError(f"--engine-retries is {self.retries}; give 0 or more.")


class EngineClient:
    """A client of another engine. Used on the event loop's thread.

    Args:
        address: where it is.
        turns: who may ask it when.
    """

    def __init__(self, address: EngineAddress, turns: Turns) -> None:
        self.address, self.turns = address, turns
        self._names: dict[str, dict[str, Any]] = {}
        self._asked_names: float | None = None
        self._client = openai.AsyncOpenAI(
            base_url=address.url,
            api_key=address.key or "none",
            max_retries=address.retries,
            timeout=openai.Timeout(address.seconds, connect=CONNECT_SECONDS),
        )

    async def complete(self, kind: Kind, fields: dict[str, Any], client: str) -> Completion:
        """Ask for a completion and return it.

        Args:
            fields: of the request's body.
            client: whose turn it is.

        Raises:
            RefusalError: there is none; it says why, as a client is to hear it.
        """
        async with self.turns.turn(client), self._told():
            for attempt in range(self.address.retries + 1):
                if attempt:
                    await asyncio.sleep(min(FIRST_PAUSE * 2 ** (attempt - 1), LONGEST_PAUSE))
                body = (await self._resource(kind).with_raw_response.create(**_split(fields))).content
                completion = _completion_in(body)
                if completion is not None:
                    return completion
            raise NoCompletionError(f"It begins {body[:40].decode(errors='replace')!r}.")

    @asynccontextmanager
    async def stream(self, kind: Kind, fields: dict[str, Any], client: str) -> AsyncIterator[AsyncIterator[Completion]]:
        """Open the stream of a completion; it yields chunks.

        Raises:
            RefusalError: there is none, or it breaks off.
        """
        async with self.turns.turn(client):
            async with self._told():
                stream = await self._resource(kind).create(**_split(fields), stream=True)
            async with stream:
                yield self._chunks(stream)

    async def names(self) -> dict[str, dict[str, Any]]:
        """Return the models that are served, by name, as the engine tells of them.

        Raises:
            RefusalError: the engine does not say.
        """
        if self.address.models:
            return {name: {} for name in self.address.models}
        await self.check_reached()
        return self._names

    async def check_model(self, name: str) -> None:
        """Check that a model is served.

        Raises:
            RefusalError: it is not, or the engine does not say.
        """
        names = self._names if name in self._names else await self.names()
        if name not in names:
            known = ", ".join(names) or "none"
            raise RefusalError(
                f"The model {name[:100]!r} is not served; choose one of {known}.",
                404,
                param="model",
                code="model_not_found",
            )

    async def check_reached(self) -> None:
        """Ask the engine for its models, unless it was asked just now.

        Raises:
            RefusalError: it does not answer.
        """
        now = time.monotonic()
        if self._asked_names is not None and now - self._asked_names < NAMES_SECONDS:
            return
        async with self._told():
            listed = await self._client.with_options(max_retries=0, timeout=CONNECT_SECONDS).models.list()
            entries = [one.to_dict() for one in listed.data or ()]
            self._names = {str(entry.get("id")): entry for entry in entries}
            self._asked_names = now

    async def close(self) -> None:
        """Close all connections."""
        await self._client.close()

    def _told(self) -> AbstractAsyncContextManager[None]:
        return told_failures(self.address.url, self.address.seconds)

    async def _chunks(self, stream: AsyncIterator[openai.BaseModel]) -> AsyncIterator[Completion]:
        """Yield the chunks of a stream.

        Raises:
            RefusalError: it breaks off, or ends before all choices have.
        """
        ended: dict[int, bool] = {}  # by choice
        async with self._told():
            async for one in stream:
                chunk: Completion = one.to_dict()
                check_json(chunk)
                for choice in chunk.get("choices") or ():
                    index = choice.get("index", 0)
                    ended[index] = ended.get(index, False) or choice.get("finish_reason") is not None
                yield chunk
            if not ended or not all(ended.values()):
                raise NoCompletionError("A stream ended before its answer did.")

    def _resource(self, kind: Kind) -> Any:  # noqa: ANN401, two types of the client library with one method
        return self._client.chat.completions if kind == "chat" else self._client.completions


def check_json(found: object) -> None:
    """Raise ValueError for what no JSON in UTF-8 can hold: NaN, and half characters."""
    json.dumps(found, ensure_ascii=False, allow_nan=False).encode()


def _split(fields: dict[str, Any]) -> dict[str, Any]:
    """Return fields as the client library takes them: those that it does not know apart."""
    others = {name: value for name, value in fields.items() if name in OTHER_FIELDS}
    known = {name: value for name, value in fields.items() if name not in OTHER_FIELDS}
    return known | ({"extra_body": others} if others else {})


def _completion_in(body: bytes) -> Completion | None:
    """Return the object of a completion with at least one choice; None for anything else."""
    try:
        found = json.loads(body)
        check_json(found)
    except (ValueError, RecursionError):
        return None
    choices = found.get("choices") if isinstance(found, dict) else None
    return found if isinstance(choices, list) and choices and all(isinstance(one, dict) for one in choices) else None
