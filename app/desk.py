"""The desk of the page: takes what people ask to the server's engine, and follows the answers frame by frame.

All pages share one engine thread (inference/server/engine_thread.py). A page that is closed closes its generator, which
drops its answers, so that their slots are free before the next forward but one.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from secrets import token_urlsafe
from typing import Any

from ..inference.answer import Fields
from ..inference.form import Form, form_fields
from ..inference.server.event_stream import refusal_of
from ..inference.server.exchange import Exchange
from ..inference.server.refusals import RefusalError, timed_out
from ..inference.server.served_models import ServedModel
from ..inference.server.service import Service
from ..records.checks import check_utf8
from .edited_outline import plan_of
from .finished import Finished, Remembered
from .page_answer import PageAnswer

SHORTEST_SECONDS = 0.04  # between two views
LONGEST_SECONDS = 0.5  # between two views, also where nothing has happened: a page that was closed is noticed then
LONGEST_PROMPT = 20_000  # characters; the limit in tokens comes first for most texts
View = dict[str, Any]
Views = AsyncGenerator[View, None]


@dataclass
class Desk:
    """The place where pages ask, and from which they get views.

    service: the server's models and engine.
    remembered: answers that can be edited and downloaded.
    """

    service: Service
    remembered: Remembered = field(default_factory=Remembered)
    _waiting: dict[PageAnswer, None] = field(default_factory=dict, init=False)  # in the order in which they came

    @property
    def model(self) -> ServedModel:
        """The model that answers."""
        return next(iter(self.service.models.values()))

    def ask(self, prompt: str, fields: Sequence[Fields], plan: list[Any] | None = None) -> Views:
        """Answer a prompt once for each of several fields, at the same time; yield how the page looks.

        Args:
            plan: rounds, as `generate` takes them, for the first answer.
        """

        def make() -> list[PageAnswer]:
            ids = self.model.encode_chat([{"role": "user", "content": checked(prompt)}])
            plans = [plan, *[None] * (len(fields) - 1)]
            made = zip(fields, plans, strict=True)
            return [PageAnswer(self.model, self.model.requests(ids, one, plan=given)[0]) for one, given in made]

        return self._follow(make, prompt, fields)

    def fill_outline(self, name: object, outline: object, fields: Fields) -> Views:
        """Write the changed parts of an edited outline again.

        Args:
            name: of the answer that was edited.
            outline: as edited_outline.py takes it.

        Raises:
            ValueError: no such answer, or an outline that makes no sense.
        """
        before = self.remembered.find(name)
        return self.ask(str(before.prompt), [fields], plan_of(outline, before.answers[0]))

    def fill_form(self, prompt: str, schema: object, fields: Fields) -> Views:
        """Fill in the form of a JSON schema; the answer's text is its object."""

        def make() -> list[PageAnswer]:
            form: Form = self.model.form(schema)
            ids = self.model.encode_chat([{"role": "user", "content": checked(prompt)}])
            [request] = self.model.requests(ids, form_fields(fields), plan=[[["answer", form.pieces]]])
            return [PageAnswer(self.model, request, form)]

        return self._follow(make, prompt, [fields])

    async def _follow(self, make: Callable[[], list[PageAnswer]], prompt: str, fields: Sequence[Fields]) -> Views:
        """Yield views until the answers have ended; drop them where nobody listens any more."""
        answers: list[PageAnswer] = []
        run = token_urlsafe(6)

        def remembered() -> list[Any]:
            answers.extend(make())
            return list(answers)

        exchange = await self.service.admission.open(self.model, len(fields), remembered, client=run)
        self._waiting |= dict.fromkeys(answers)
        try:
            while not exchange.is_over:
                yield self._view(run, answers)
                await self._next(exchange)
                if exchange.seconds_left <= 0:
                    raise timed_out(exchange.admission.limits.answer_seconds)
            if exchange.error is not None:
                raise refusal_of(exchange.error)
            yield self._view(run, answers, self.remembered.add(Finished(prompt, answers, fields)))
        finally:
            exchange.close()
            for answer in answers:
                self._waiting.pop(answer, None)

    async def _next(self, exchange: Exchange) -> None:
        """Wait until there is something to show, but at most a little while."""
        until = time.monotonic() + SHORTEST_SECONDS
        await exchange.change(min(LONGEST_SECONDS, exchange.seconds_left))
        await asyncio.sleep(max(0.0, until - time.monotonic()))

    def _view(self, run: str, answers: Sequence[PageAnswer], name: str | None = None) -> View:
        """Return what a page shows of one run; `name` is that of answers that have ended."""
        lanes = [
            {
                "decoding": answer.request.settings.decoding,
                "form": answer.form is not None,
                "waiting": self._place(answer),
                "frames": answer.take_frames(),
            }
            for answer in answers
        ]
        return {"run": run, "lanes": lanes, "name": name, "note": None}

    def _place(self, answer: PageAnswer) -> int:
        """Return an answer's place among those that wait; 0 where it is being written."""
        if answer.first_forward_at is not None:
            return 0
        waiting = [one for one in self._waiting if one.first_forward_at is None]
        return waiting.index(answer) + 1 if answer in waiting else 0


def checked(prompt: str) -> str:
    """Return a prompt that says something, and not too much.

    Raises:
        ValueError: it holds half a character.
        RefusalError: it is empty or too long.
    """
    if not prompt.strip():
        raise RefusalError("The question is empty; write some text.")
    check_utf8(prompt, "The question")
    if len(prompt) > LONGEST_PROMPT:
        raise RefusalError(f"The question has {len(prompt)} characters; shorten it to {LONGEST_PROMPT}.")
    return prompt


async def told(views: Callable[[], Views]) -> Views:
    """Yield views; a refusal becomes one that has only a note, so that the page keeps what it shows."""
    try:
        async with aclosing(views()) as open_views:  # closed at once where the page is
            async for view in open_views:
                yield view
    except (RefusalError, ValueError) as error:
        note = str(error).encode("utf-8", "backslashreplace").decode()
        yield {"run": None, "lanes": None, "name": None, "note": note}
