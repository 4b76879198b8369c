"""From a checked body to what `generate` takes: its fields, the rounds of a plan, and the messages of a chat."""

from collections.abc import Mapping
from typing import Any

from ...generation.neutral_values import IGNORED_ARGUMENTS
from ...generation.skeleton import Kept
from ..decoding_fields import with_sampling
from .bodies import Answering, ChatBody, Message, NamedSchema, Part
from .body_reading import UNSUITABLE, check_field, parsed
from .limits import Limits
from .refusals import RefusalError

UNSAID = ("transformers_version", "_from_model_config", *IGNORED_ARGUMENTS)  # say nothing about the answer
SAME_NAME = ("temperature", "top_p", "seed")  # fields that OpenAI calls as `generate` does


def fields_of(body: Answering, own: Mapping[str, Any], limits: Limits) -> dict[str, Any]:
    """Return the fields of `generate` that a body asks for.

    Args:
        own: the fields of `generate` that stand in the body beside OpenAI's.

    Raises:
        RefusalError: a limit given twice or out of bounds, or options of a stream for an answer that is none.
    """
    _check_stream(body)
    fields = {**_of_config(body.generation_config), **own}
    fields |= {name: getattr(body, name) for name in SAME_NAME if getattr(body, name) is not None}
    name, most = _limit_of(body)
    if most is not None:
        fields["max_new_tokens"] = most
    if fields.get("max_new_tokens", 0) > limits.answer_tokens:
        raise RefusalError(
            f"{name} is {fields['max_new_tokens']}, and this server writes {limits.answer_tokens} tokens per answer at "
            "most; lower it.",
            param=name,
        )
    return with_sampling(fields)


def rounds_of(plan: list[list[Part]] | None) -> list[list[list[Any]]] | None:
    """Return a plan as `generate` takes it; a part that is kept promises its length as before.

    Raises:
        RefusalError: a part that has neither a length nor a text to keep, or nothing that is to be written.
    """
    if plan is None:
        return None
    rounds = []
    for number, parts in enumerate(plan):
        rounds.append([_part(part, f"plan[{number}][{index}]") for index, part in enumerate(parts)])
    if not any(rounds):
        raise RefusalError("plan has no parts; give at least one, or leave plan out.", param="plan")
    if all(part.keep for parts in plan for part in parts):
        raise RefusalError("plan keeps every part, so there is nothing to write; let one be written.", param="plan")
    return rounds


def chat_of(messages: list[Message]) -> list[dict[str, Any]]:
    """Return the messages of a chat as the chat template takes them; a developer is the system.

    Raises:
        RefusalError: a user who says nothing, or a chat that ends in an answer.
    """
    for index, message in enumerate(messages):
        if message.role == "user" and not message.content.strip():
            path = f"messages[{index}].content"
            raise RefusalError(f"{path} is {message.content[:20]!r}; give some text.", param=path)
    if messages[-1].role == "assistant":
        raise RefusalError(
            "The last of the messages is the assistant's, which is to be written; leave it out.",
            param=f"messages[{len(messages) - 1}].role",
        )
    roles = {"developer": "system"}
    return [{"role": roles.get(message.role, message.role), "content": message.content} for message in messages]


def schema_of(body: Answering) -> NamedSchema | None:
    """Return the schema that an answer must fit; None where it is text.

    Raises:
        RefusalError: no schema, or beside it something that a form has no use for.
    """
    asked = body.response_format if isinstance(body, ChatBody) else None
    if asked is None or asked.type == "text":
        return None
    if asked.json_schema is None:
        raise RefusalError("response_format has no json_schema; give it.", param="response_format.json_schema")
    beside = {"plan": body.plan, "stop": body.stop, "logprobs": getattr(body, "logprobs", None)}
    wrong = [name for name, value in beside.items() if value]
    if body.stream_plan != "none":
        wrong.append("stream_plan")
    if wrong:
        raise RefusalError(f"{wrong[0]} has no use for a form; leave it or response_format out.", param=wrong[0])
    return asked.json_schema


def logprobs_of(body: Answering) -> int | None:
    """Return how many alternatives each token's log-probability comes with; None where none are asked for.

    Raises:
        RefusalError: alternatives without `logprobs`.
    """
    if not isinstance(body, ChatBody):
        return getattr(body, "logprobs", None)
    if body.top_logprobs is not None and not body.logprobs:
        raise RefusalError("top_logprobs is given without logprobs; set logprobs to true.", param="top_logprobs")
    return (body.top_logprobs or 0) if body.logprobs else None


def _check_stream(body: Answering) -> None:
    if body.stream:
        return
    if body.stream_options is not None:
        raise RefusalError("stream_options is given without stream; set stream to true.", param="stream_options")
    if body.stream_plan != "none":
        raise RefusalError(
            "stream_plan is given without stream; set stream to true, or read the plan in the answer.",
            param="stream_plan",
        )


def _limit_of(body: Answering) -> tuple[str, int | None]:
    """Return the limit on an answer's tokens, and the name under which it was given."""
    newer = getattr(body, "max_completion_tokens", None)
    if newer is not None and body.max_tokens not in (None, newer):
        raise RefusalError(
            f"max_tokens is {body.max_tokens} and max_completion_tokens {newer}; give one of them.", param="max_tokens"
        )
    return ("max_tokens", body.max_tokens) if newer is None else ("max_completion_tokens", newer)


def _part(part: Part, path: str) -> list[Any]:
    if part.keep:
        if part.text is None or not (part.text or part.length):
            raise RefusalError(f"{path} is kept and has no text; give it, or a length in place of keep.", param=path)
        return [part.topic, Kept(part.text, part.length)]
    if part.length is None:
        raise RefusalError(f"{path} has no length; give its tokens, or keep a text.", param=path)
    return [part.topic, part.length]


def _of_config(text: str | None) -> dict[str, Any]:
    """Return the fields of `generate` in the JSON of a generation config, as `transformers chat` sends it."""
    if text is None:
        return {}
    try:
        found = parsed(text.encode())
    except RefusalError as error:
        raise RefusalError(f"generation_config: {error}", param="generation_config") from error
    fields = {name: value for name, value in found.items() if value is not None and name not in UNSAID}
    refused = [name for name in fields if name in (*UNSUITABLE, "max_length", "stop_strings", "compile_config")]
    if refused:
        raise RefusalError(
            f"generation_config has {refused[0]}, which a server cannot take; leave it out.", param=refused[0]
        )
    for name, value in fields.items():
        check_field(name, value)
    return fields
