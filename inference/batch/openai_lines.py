"""Read the lines of OpenAI's batch files as requests of ours, and write answers as its result files have them.

    {"custom_id": "a7", "method": "POST", "url": "/v1/chat/completions",
     "body": {"model": "any", "messages": [...], "max_tokens": 200, "temperature": 0.7}}

The model that a body names is not looked at: one model answers the whole file. Fields of `generate` may stand in a
body as well.
"""

from typing import Any

from ..answer import Answer

KEYS = ("custom_id", "method", "url", "body", "id", "error")  # the last two stand in files of failed requests
PROMPTS = {"/v1/chat/completions": "messages", "/v1/completions": "prompt"}  # url -> key of the body
RENAMED = {
    "max_tokens": "max_new_tokens",
    "max_completion_tokens": "max_new_tokens",
    "stop": "stop_strings",
    "frequency_penalty": None,
    "presence_penalty": None,
    "logprobs": None,
    "top_logprobs": None,
    "n": None,
    "stream": None,
    "stream_options": None,
    "response_format": None,
    "tools": None,
    "tool_choice": None,
    "logit_bias": None,
    "functions": None,
    "function_call": None,
    "audio": None,
    "modalities": None,
    "prediction": None,
    "reasoning_effort": None,
    "verbosity": None,
    "web_search_options": None,
    "best_of": None,
    "echo": None,
    "suffix": None,
}  # field of a body -> field of `generate`; None: only a value that changes nothing is taken
NEUTRAL = (None, False, 0, [], {}, "none", "auto", {"type": "text"})
SAME_NAME = ("temperature", "top_p", "seed")  # fields that OpenAI calls as `generate` does
ALSO_NEUTRAL = {"n": 1, "best_of": 1, "modalities": ["text"], "suffix": ""}  # field -> one more such value of its own
UNUSED = (
    "model", "user", "metadata", "store", "service_tier", "parallel_tool_calls", "prompt_cache_key",
    "prompt_cache_retention", "safety_identifier",
)  # fields that say nothing about the answer  # fmt: skip
ROLES = {"developer": "system"}


def is_openai_line(row: dict[str, Any]) -> bool:
    """Tell whether a line is written as OpenAI's batch files are."""
    return "custom_id" in row or "body" in row


def request_of(row: dict[str, Any]) -> dict[str, Any]:
    """Return the request of such a line as a line of ours: id, prompt or messages, fields of `generate`.

    Raises:
        ValueError: another method or url, no body, or a field that asks for something that cannot be had here.
    """
    unknown = [name for name in row if name not in KEYS]
    if unknown:
        raise ValueError(f"{unknown[0]} is no field of an OpenAI batch line; choose among {', '.join(KEYS[:4])}.")
    if row.get("method", "POST") != "POST":
        raise ValueError(f"its method is {row['method']!r}; give POST.")
    url, body = row.get("url", "/v1/chat/completions"), row.get("body")
    if not isinstance(url, str) or url not in PROMPTS:
        raise ValueError(f"its url is {url!r}; give one of {', '.join(PROMPTS)}.")
    if not isinstance(body, dict):
        raise ValueError(f"its body is {body!r}; give an object with messages.")
    if "custom_id" not in row:
        raise ValueError("it has a body and no custom_id; give one.")
    if PROMPTS[url] not in body:
        raise ValueError(f"its body has no {PROMPTS[url]}, which {url} needs; give them, or another url.")
    fields = _fields(body)
    if isinstance(fields.get("messages"), list):
        fields["messages"] = [_message(one) for one in fields["messages"]]
    return {"id": row["custom_id"]} | fields


def _fields(body: dict[str, Any]) -> dict[str, Any]:
    """Return the fields of a body under the names that they have here."""
    fields: dict[str, Any] = {}
    for name, value in body.items():
        if name in UNUSED or (value is None and (name in RENAMED or name in SAME_NAME)):
            continue
        ours = RENAMED.get(name, name)
        if ours is None:
            if value not in NEUTRAL and not (name in ALSO_NEUTRAL and value == ALSO_NEUTRAL[name]):
                raise ValueError(f"{name} is {value!r}, which batch cannot do; leave it out.")
        elif ours in fields:
            raise ValueError(f"its body gives {ours} twice, once as {name}; give it once.")
        else:
            fields[ours] = value
    return fields


def _message(message: object) -> object:
    """Return a message with the name that its role has here."""
    role = message.get("role") if isinstance(message, dict) else None
    return {**message, "role": ROLES[role]} if isinstance(message, dict) and role in [*ROLES] else message


def response_of(answer: Answer) -> dict[str, Any]:
    """Return an answer as the `response` of a line of OpenAI's result files."""
    choice = {
        "index": 0,
        "message": {"role": "assistant", "content": answer.text},
        "finish_reason": "length" if answer.ended == "length" else "stop",
    }
    prompt, written = len(answer.prompt_ids), answer.trace.tokens
    usage = {"prompt_tokens": prompt, "completion_tokens": written, "total_tokens": prompt + written}
    body = {"object": "chat.completion", "model": answer.model, "choices": [choice], "usage": usage}
    return {"status_code": 200, "body": body}
