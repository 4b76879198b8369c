"""The bodies of requests in front of another engine, as strict as those of our own server.

Fields that say how tokens are drawn go to the engine with every part. An answer in one piece is asked for where a field
has a use for nothing else: `response_format`, `logprobs`, `decoding="autoregressive"`, and texts to go on with.
"""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from ..server.bodies import MOST_LOGPROBS, Asking, Message, Part, Text, as_list
from ..server.limits import Limits
from ..server.refusals import RefusalError

FEWEST_TOKENS = 64  # of an answer that is worth a plan


Penalty = Annotated[float, Field(ge=-2, le=2)]


class FrontBody(Asking):
    """Fields of every request that another engine answers."""

    top_k: Annotated[int, Field(ge=-1)] | None = None
    min_p: Annotated[float, Field(ge=0, le=1)] | None = None
    frequency_penalty: Penalty | None = None
    presence_penalty: Penalty | None = None
    logit_bias: dict[str, Annotated[float, Field(ge=-100, le=100)]] | None = None


class FrontChatBody(FrontBody):
    """The body of /v1/chat/completions."""

    messages: Annotated[list[Message], Field(min_length=1)]
    max_completion_tokens: Annotated[int, Field(ge=1)] | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=MOST_LOGPROBS)] | None = None
    response_format: dict[str, Any] | None = None
    # Of this package.
    decoding: Literal["planned", "autoregressive"] = "planned"
    plan: list[list[Part]] | None = None
    stream_plan: Literal["none", "parts"] = "none"


class FrontTextBody(FrontBody):
    """The body of /v1/completions: texts that the engine goes on with."""

    prompt: Annotated[list[Annotated[Text, Field(min_length=1)]], Field(min_length=1), BeforeValidator(as_list)]
    logprobs: Annotated[int, Field(ge=0, le=MOST_LOGPROBS)] | None = None


DRAWING = ("temperature", "top_p", "top_k", "min_p", "frequency_penalty", "presence_penalty", "logit_bias")
PASSED = (*DRAWING, "max_tokens", "max_completion_tokens", "n", "seed", "stop", "stream_options", "prompt", "logprobs",
          "top_logprobs", "response_format")  # fmt: skip
# Fields that have a use for an answer in one piece only.
ONE_PIECE = ("response_format", "logprobs")


def check_front(body: FrontBody, limits: Limits) -> None:
    """Check fields against each other and against the limits.

    Raises:
        RefusalError: a limit given twice or out of bounds, equal answers, or fields that have no use for each other.
    """
    name, most = limit_of(body)
    if most is not None and most > limits.answer_tokens:
        raise RefusalError(
            f"{name} is {most}, and this server writes {limits.answer_tokens} tokens per answer at most; lower it.",
            param=name,
        )
    if (body.n or 1) > 1 and body.temperature == 0:
        raise RefusalError(f"n is {body.n}, and the answers would be equal; give a temperature above 0.", param="n")
    if not body.stream and body.stream_options is not None:
        raise RefusalError("stream_options is given without stream; set stream to true.", param="stream_options")
    if isinstance(body, FrontChatBody):
        _check_plan(body)


def _check_plan(body: FrontChatBody) -> None:
    if body.stream_plan != "none" and not body.stream:
        raise RefusalError("stream_plan is given without stream; set stream to true.", param="stream_plan")
    if body.top_logprobs is not None and not body.logprobs:
        raise RefusalError("top_logprobs is given without logprobs; set logprobs to true.", param="top_logprobs")
    if body.plan is not None and is_one_piece(body):
        raise RefusalError(
            "plan has no use for response_format, logprobs or decoding autoregressive; leave it or them out.",
            param="plan",
        )


def limit_of(body: FrontBody) -> tuple[str, int | None]:
    """Return the field that bounds an answer's tokens, and their number.

    Raises:
        RefusalError: two limits that differ.
    """
    newer = getattr(body, "max_completion_tokens", None)
    if newer is None:
        return "max_tokens", body.max_tokens
    if body.max_tokens not in (None, newer):
        raise RefusalError(
            f"max_tokens is {body.max_tokens} and max_completion_tokens {newer}; give one of them.", param="max_tokens"
        )
    return "max_completion_tokens", newer


def is_one_piece(body: FrontBody) -> bool:
    """Tell whether a field asks for an answer that has no parts."""
    if not isinstance(body, FrontChatBody):
        return True
    has_form = body.response_format is not None and body.response_format.get("type") != "text"
    return has_form or bool(body.logprobs) or body.decoding == "autoregressive"


def wants_plan(body: FrontBody) -> bool:
    """Tell whether an answer is to be planned, as far as its fields say."""
    most = limit_of(body)[1]
    return not is_one_piece(body) and (most is None or most >= FEWEST_TOKENS)


def fields_for(body: FrontBody, names: tuple[str, ...]) -> dict[str, Any]:
    """Return the given fields of those names, as the engine takes them."""
    given = body.model_dump(exclude_unset=True, include=set(names))
    return {"model": body.model, **{name: value for name, value in given.items() if value is not None}}
