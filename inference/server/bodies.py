"""The bodies of requests, checked strictly: an unknown field, a wrong type and what cannot be had here are errors."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from ...records.checks import check_utf8
from ...records.content import joined_text

MOST_STOPS, LONGEST_STOP = 16, 256
MOST_LOGPROBS = 20


def _text(value: object) -> str:
    """Return a text, given as one or in parts."""
    text = joined_text(value, "a content")
    if not isinstance(text, str):
        raise ValueError("give some text")
    check_utf8(text, "It")
    return text


def as_list(value: object) -> object:
    """Return a text as a list of one."""
    return [value] if isinstance(value, str) else value


def _utf8(value: str) -> str:
    check_utf8(value, "It")
    return value


def _only(*values: object) -> AfterValidator:
    """Return a check for a field that is taken only with values that change nothing."""

    def check(value: object) -> object:
        if not any(type(value) is type(one) and value == one for one in values):
            raise ValueError("this server cannot do that; leave it out")
        return value

    return AfterValidator(check)


Text = Annotated[str, AfterValidator(_utf8)]
StopText = Annotated[Text, Field(min_length=1, max_length=LONGEST_STOP)]
Content = Annotated[str, BeforeValidator(_text)]
Nothing = Annotated[Any, _only(None)]
Zero = Annotated[Any, _only(None, 0, 0.0)]
Empty = Annotated[Any, _only(None, [], {})]
Off = Annotated[Any, _only(None, False)]


class Body(BaseModel):
    """An object of a request: no field but its own, and no value of another type."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


class Message(Body):
    """A message of a chat. An answer that the client got may be sent back whole, with what is empty in it."""

    role: Literal["system", "developer", "user", "assistant"]
    content: Content
    name: Nothing = None
    refusal: Nothing = None
    annotations: Empty = None
    audio: Nothing = None
    function_call: Nothing = None
    tool_calls: Empty = None
    plan: Any = None  # of an answer that is sent back; it is not read


class StreamOptions(Body):
    """Options of a stream."""

    include_usage: bool | None = None
    include_obfuscation: Off = None


class NamedSchema(Body):
    """A JSON schema with a name."""

    name: Annotated[Text, Field(min_length=1, max_length=64)]
    schema_: Annotated[dict[str, Any], Field(alias="schema")]
    description: Text | None = None
    strict: bool | None = None


class ResponseFormat(Body):
    """The form of an answer: text, or an object that fits a schema."""

    type: Literal["text", "json_schema"]
    json_schema: NamedSchema | None = None


class Part(Body):
    """A part of a plan: a topic with its length in tokens, or with a text that is kept."""

    topic: Text
    length: Annotated[int, Field(ge=1)] | None = None
    text: Text | None = None
    keep: bool = False


class Asking(Body):
    """Fields of every request for an answer, whoever writes it."""

    model: str
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    temperature: Annotated[float, Field(ge=0)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    n: Annotated[int, Field(ge=1)] | None = None
    seed: Annotated[int, Field(ge=0, lt=2**63)] | None = None
    stop: Annotated[list[StopText] | None, Field(max_length=MOST_STOPS), BeforeValidator(as_list)] = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    user: Any = None  # whose turn it is (fair_queue.py)


class Answering(Asking):
    """Fields of every request for an answer of a model of this package."""

    frequency_penalty: Zero = None
    presence_penalty: Zero = None
    logit_bias: Empty = None
    # Of this package.
    plan: list[list[Part]] | None = None
    stream_plan: Literal["none", "parts", "drafts"] = "none"
    generation_config: Text | None = None  # the fields of `generate` as JSON, as `transformers chat` sends them


class ChatBody(Answering):
    """The body of /v1/chat/completions."""

    messages: Annotated[list[Message], Field(min_length=1)]
    max_completion_tokens: Annotated[int, Field(ge=1)] | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=MOST_LOGPROBS)] | None = None
    response_format: ResponseFormat | None = None
    tools: Empty = None
    tool_choice: Annotated[Any, _only(None, "none", "auto")] = None
    parallel_tool_calls: Annotated[Any, _only(None, True, False)] = None
    functions: Empty = None
    function_call: Annotated[Any, _only(None, "none", "auto")] = None
    audio: Nothing = None
    modalities: Annotated[Any, _only(None, ["text"])] = None
    prediction: Nothing = None
    reasoning_effort: Annotated[Any, _only(None, "none")] = None
    verbosity: Nothing = None
    web_search_options: Nothing = None
    metadata: Empty = None
    store: Off = None
    service_tier: Annotated[Any, _only(None, "auto", "default")] = None
    prompt_cache_key: Any = None  # these say nothing about the answer
    prompt_cache_retention: Any = None
    safety_identifier: Any = None


class CompletionBody(Answering):
    """The body of /v1/completions: text that is gone on with, without a chat template."""

    prompt: Annotated[list[Annotated[Text, Field(min_length=1)]], Field(min_length=1), BeforeValidator(as_list)]
    logprobs: Annotated[int, Field(ge=0, le=MOST_LOGPROBS)] | None = None
    best_of: Annotated[Any, _only(None, 1)] = None
    echo: Off = None
    suffix: Annotated[Any, _only(None, "")] = None


class TokenizeBody(Body):
    """The body of /tokenize: a text, or the messages of a chat."""

    model: str
    prompt: Text | None = None
    messages: Annotated[list[Message], Field(min_length=1)] | None = None
