"""Read the answer of an endpoint: a chat completion, its text and its tokens, in whatever form they come."""

import json
from typing import Any

from .outcomes import Usage


class NoCompletionError(Exception):
    """An endpoint's answer is not an OpenAI-compatible one; the message shows its beginning."""


def completion_in(body: bytes) -> dict[str, Any] | None:
    """Return the object of a chat completion, whose list of choices may be empty; None for anything else."""
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) and isinstance(found.get("choices"), list) else None


def text_of(choice: object) -> str:
    """Return the text of a choice, joined where it comes in pieces; "" where there is none."""
    message = choice.get("message") if isinstance(choice, dict) else None
    content = message.get("content") if isinstance(message, dict) else None
    pieces = content if isinstance(content, list) else [content]
    texts = [piece.get("text") if isinstance(piece, dict) else piece for piece in pieces]
    joined = "".join(text for text in texts if isinstance(text, str))
    return joined.encode(errors="replace").decode()  # half characters could not be sent back


def usage_of(completion: dict[str, Any]) -> Usage:
    """Return the prompt and completion tokens of one request, 0 where the endpoint does not say."""
    given = completion.get("usage")
    given = given if isinstance(given, dict) else {}
    counts = (given.get("prompt_tokens"), given.get("completion_tokens"))
    prompt_tokens, completion_tokens = (count if type(count) is int else 0 for count in counts)
    return Usage(prompt_tokens, completion_tokens, requests=1)
