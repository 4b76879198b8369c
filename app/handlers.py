"""The handlers of the page's events: values of its components in, views out."""

import json
from collections.abc import Callable
from contextlib import aclosing
from typing import Any

import gradio

from .desk import Desk, Views, told
from .knobs import KnobFields


class Handlers:
    """The handlers of one desk. The values of the knobs are the last arguments of each.

    Gradio closes a handler whose page was closed, which drops what it follows.
    """

    def __init__(self, desk: Desk, knobs: KnobFields) -> None:
        self.desk, self.knobs = desk, knobs

    async def ask(self, question: str, race: bool, *turned: Any) -> Views:
        """Answer a question; in a race, left to right as well."""

        def asked(fields: dict[str, Any]) -> Views:
            return self.desk.ask(question, [fields, self.knobs.beside(fields)] if race else [fields])

        async with aclosing(self._views(asked, turned)) as views:
            async for view in views:
                yield view

    async def fill_form(self, question: str, schema: str, *turned: Any) -> Views:
        """Fill in the form of a JSON schema."""

        def asked(fields: dict[str, Any]) -> Views:
            return self.desk.fill_form(question, _parsed(schema), fields)

        async with aclosing(self._views(asked, turned)) as views:
            async for view in views:
                yield view

    async def fill_outline(self, event: gradio.EventData, *turned: Any) -> Views:
        """Write the changed parts of the outline that the event brings."""
        given = event._data

        def asked(fields: dict[str, Any]) -> Views:
            if not isinstance(given, dict):
                raise ValueError("The outline cannot be read; reload the page.")
            return self.desk.fill_outline(given.get("name"), given.get("outline"), fields)

        async with aclosing(self._views(asked, turned)) as views:
            async for view in views:
                yield view

    async def _views(self, asked: Callable[[dict[str, Any]], Views], turned: tuple[Any, ...]) -> Views:
        """Yield the views of what is asked with the fields that the knobs say, each with the pace."""
        decoding, *values, most_tokens, pace = turned
        followed = told(lambda: asked(self.knobs.fields(decoding, values, most_tokens)))
        async with aclosing(followed) as views:
            async for view in views:
                yield {**view, "pace": pace}


def _parsed(schema: str) -> object:
    try:
        return json.loads(schema)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"The schema is no JSON ({error}); mend it.") from error
