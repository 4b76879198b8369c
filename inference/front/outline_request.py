"""Ask another engine's model for the outline of an answer, and read it.

The outline is JSON: rounds of parts, each with a topic and its tokens. The engine is told its schema and asked at
temperature 0; an engine that refuses either is asked without it from then on. A reply that is no outline is sent back
once with its fault; after that the question is asked as it stands, since a bad outline must not cost the answer.
"""

import logging
from collections.abc import Callable
from typing import Any

from ...records.found_json import values_named
from ..server.refusals import RefusalError
from .engine_client import Completion, EngineClient
from .part_request import with_question
from .planned_parts import PlannedPart, PlanSource, Round

logger = logging.getLogger(__name__)
TRIES = 2  # replies per outline
MOST_ROUNDS, MOST_PARTS = 4, 16  # of an outline; parts per round
MOST_TOPIC, MOST_TOKENS = 120, 4096  # characters of a topic; tokens of a part
OUTLINE_TOKENS = 1024  # of a reply

INSTRUCTIONS = """\
Do not answer the request below yet. Plan how several writers can answer it at the same time:

- All parts of a round are written at the same time by writers who know the request and the outline, but not each
  other's text. Put parts into one round only if each makes sense alone: items of a list, sections on two subjects,
  pros and cons.
- A later round sees everything that earlier rounds wrote. A conclusion about the other parts is a later round.
- A request with a short answer, and code, calculations, stories and steps that build on each other are left to a single
  writer: reply with no rounds.
- A topic says in a few words what its part is about. Tokens are the length of its text; a sentence has about 25.

Reply with one JSON object and nothing else, such as
{"rounds": [[{"topic": "cats", "tokens": 60}, {"topic": "dogs", "tokens": 60}], [{"topic": "advice", "tokens": 40}]]}
or {"rounds": []}.

Request:
"""

_PART = {
    "type": "object",
    "properties": {
        "topic": {"type": "string", "minLength": 1, "maxLength": MOST_TOPIC},
        "tokens": {"type": "integer", "minimum": 1, "maximum": MOST_TOKENS},
    },
    "required": ["topic", "tokens"],
    "additionalProperties": False,
}
SCHEMA = {
    "type": "object",
    "properties": {
        "rounds": {
            "type": "array",
            "maxItems": MOST_ROUNDS,
            "items": {"type": "array", "minItems": 1, "maxItems": MOST_PARTS, "items": _PART},
        }
    },
    "required": ["rounds"],
    "additionalProperties": False,
}
# Fields of the request, from those that help most to none: an engine that refuses some is asked by the next.
FORMS: tuple[dict[str, Any], ...] = (
    {
        "temperature": 0,
        "response_format": {"type": "json_schema", "json_schema": {"name": "outline", "schema": SCHEMA}},
    },
    {"temperature": 0},
    {},
)


class OutlineAsker:
    """Asks an engine for outlines.

    Args:
        engine: whose model plans.
        count: told how each outline ended: "parts", "plain" or "broken".
    """

    def __init__(self, engine: EngineClient, count: Callable[[str], object]) -> None:
        self.engine, self.count = engine, count
        self._form = 0  # the first of the forms that the engine takes, as far as is known

    async def plan(self, model: str, chat: list[dict[str, Any]], client: str) -> PlanSource:
        """Return the plan of an answer; without rounds where a single writer should answer.

        Raises:
            RefusalError: the engine fails.
        """
        asked, plan_tokens, prompt_tokens = with_question(chat, INSTRUCTIONS.__add__), 0, 0
        for _ in range(TRIES):
            completion = await self._completion({"model": model, "messages": asked}, client)
            if completion is None:
                break
            used = usage_of(completion) or (0, 0)
            prompt_tokens, plan_tokens = prompt_tokens + used[0], plan_tokens + used[1]
            reply = text_of(completion)
            try:
                rounds = rounds_in(reply)
            except ValueError as error:
                logger.warning("The engine's outline is not used: %s", error)
                complaint = {"role": "user", "content": f"{error} Reply again."}
                asked = [*asked, {"role": "assistant", "content": reply}, complaint]
                continue
            self.count("parts" if rounds else "plain")
            return PlanSource(rounds, plan_tokens=plan_tokens, prompt_tokens=prompt_tokens)
        self.count("broken")
        return PlanSource(plan_tokens=plan_tokens, prompt_tokens=prompt_tokens)

    async def _completion(self, fields: dict[str, Any], client: str) -> Completion | None:
        """Ask for an outline; None where the engine refuses the request in every form."""
        for number, form in enumerate(FORMS[self._form :], start=self._form):
            try:
                completion = await self.engine.complete(
                    "chat", {**fields, "max_tokens": OUTLINE_TOKENS, **form}, client
                )
            except RefusalError as refusal:
                if refusal.status != 400:
                    raise
                continue
            self._form = number
            return completion
        return None


def rounds_in(reply: str) -> list[Round]:
    """Return the rounds of an outline; none where a single writer should answer, as with one part.

    Raises:
        ValueError: the reply is no outline; the message can be sent back.
    """
    found = values_named("rounds", reply)
    if not found:
        raise ValueError('The reply is not the JSON object {"rounds": ...} asked for.')
    given = found[-1]
    if not isinstance(given, list) or not all(isinstance(parts, list) for parts in given):
        raise ValueError('The reply is not {"rounds": [[part, ...], ...]}.')
    if len(given) > MOST_ROUNDS or max(map(len, given), default=0) > MOST_PARTS:
        raise ValueError(f"Plan at most {MOST_ROUNDS} rounds of at most {MOST_PARTS} parts.")
    rounds: list[Round] = [[_part(one) for one in parts] for parts in given if parts]
    return rounds if sum(map(len, rounds)) > 1 else []


def _part(given: object) -> PlannedPart:
    topic, tokens = (given.get(name) if isinstance(given, dict) else None for name in ("topic", "tokens"))
    if not isinstance(topic, str) or type(tokens) is not int:
        raise ValueError(f'The part {str(given)[:80]!r} is not {{"topic": text, "tokens": number}}.')
    topic = " ".join(topic.encode(errors="replace").decode().split())
    if not 0 < len(topic) <= MOST_TOPIC:
        raise ValueError(f"The topic {topic[:40]!r} has {len(topic)} characters; give 1 to {MOST_TOPIC}.")
    if not 0 < tokens <= MOST_TOKENS:
        raise ValueError(f"The part {topic!r} has {tokens} tokens; give 1 to {MOST_TOKENS}.")
    return PlannedPart(topic, tokens)


def text_of(completion: Completion) -> str:
    """Return the text of a completion's first choice; "" where it has none."""
    message = completion["choices"][0].get("message")
    content = message.get("content") if isinstance(message, dict) else None
    return content.encode(errors="replace").decode() if isinstance(content, str) else ""


def usage_of(completion: Completion) -> tuple[int, int] | None:
    """Return the tokens of the prompt and those that were written; None where the engine does not say."""
    usage = completion.get("usage")
    counts = [usage.get(name) if isinstance(usage, dict) else None for name in ("prompt_tokens", "completion_tokens")]
    prompt, written = counts
    return (prompt, written) if type(prompt) is int and type(written) is int else None
