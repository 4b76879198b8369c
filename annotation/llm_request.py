"""The form of a request to an endpoint: with which temperature, and whether the instructions are a system message.

Not every server takes both. Parts that a server names when it refuses the first requests are left out from then on.
"""

import logging
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Self

from .schemas import Message

if TYPE_CHECKING:
    from openai import APIStatusError

logger = logging.getLogger(__name__)

OF_THE_FORM = (400, 422, 500)  # HTTP statuses by which servers refuse a field or a role; 500: llama.cpp's template
_SYSTEM = re.compile(r"\bsystem\b|\bdeveloper (?:role|message|instruction)|roles must alternate", re.IGNORECASE)
# Status of a refusal -> what must be right before the same command can go on.
_ADVICE = {
    400: ", once the endpoint takes the request: see --temperature none and --no-system, and check --llm",
    401: ", once OPENAI_API_KEY holds the endpoint's key",
    403: ", once OPENAI_API_KEY holds a key that may use this model",
    404: ", once --endpoint (it usually ends in /v1) and --llm name what the server has",
}
_ADVICE[422] = _ADVICE[400]


@dataclass(frozen=True)
class Form:
    """How a request is asked: its temperature (None: not sent), and instructions as a system message or as text."""

    temperature: float | None = 0.0
    system: bool = True

    def fields(self, chat: list[Message]) -> dict[str, Any]:
        """Return the fields of a request for a chat that begins with a system message."""
        if not self.system:
            instructions, question, *rest = chat
            content = f"{instructions['content']}\n\n{question['content']}"
            chat = [{**question, "content": content}, *rest]
        return {"messages": chat} | ({} if self.temperature is None else {"temperature": self.temperature})

    def without_refused(self, error: "APIStatusError") -> Self:
        """Return the form without what a server's refusal names; the same form where it names nothing of it."""
        if error.status_code not in OF_THE_FORM:
            return self
        said = f"{error} {error.body}"
        form = self
        if "temperature" in said.lower() and form.temperature is not None:
            logger.warning("note: the endpoint refuses the temperature, so it is asked without one.")
            form = replace(form, temperature=None)
        if _SYSTEM.search(said) and form.system:
            logger.warning("note: the endpoint refuses system messages, so the instructions are in the user's message.")
            form = replace(form, system=False)
        return form


def advice_on(status: int | None) -> str:
    """Return the condition under which the same command can go on after a refusal with this status."""
    return _ADVICE.get(status or 0, "")
