"""Rows of ordinary question/answer data as chat messages: the columns to read, and the fields to keep beside them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..records.content import joined_text, refuse_media

Message = dict[str, str]  # {"role", "content"}
Row = dict[str, Any]

CHATS = ("messages", "conversations", "conversation", "chat", "dialog")
PROMPTS = ("prompt", "instruction", "question", "query", "request", "problem", "user")
ANSWERS = ("response", "completion", "output", "answer", "solution", "assistant", "chosen")
CONTEXTS = ("input", "context")  # follow the prompt, after a line break
SYSTEMS = ("system", "system_prompt")
SHOWN = ("image", "video", "audio")  # a text has their places as <image>, ...; they lie in columns of that name
_ROLES = {
    "user": "user", "human": "user", "prompter": "user",
    "assistant": "assistant", "gpt": "assistant", "model": "assistant", "bot": "assistant", "chatgpt": "assistant",
    "system": "system", "developer": "system",
}  # fmt: skip


@dataclass(frozen=True)
class Schema:
    """The columns that become messages: either that of a whole chat, or those of prompt and answer."""

    chat: str | None = None
    prompt: str | None = None
    answer: str | None = None

    def __str__(self) -> str:
        return self.chat or f"{self.prompt} and {self.answer}"


def schema_of(columns: Sequence[str]) -> Schema:
    """Return the schema that these columns show.

    Raises:
        ValueError: they show none; the message names them and the columns that are recognised.
    """
    for chat in CHATS:
        if chat in columns:
            return Schema(chat=chat)
    prompt = next((name for name in PROMPTS if name in columns), None)
    answer = next((name for name in ANSWERS if name in columns and name != prompt), None)
    if prompt is None or answer is None:
        listed = ", ".join(map(repr, columns))
        raise ValueError(
            f"no columns of a chat or of prompt and answer among {listed or 'none at all'}; "
            f"rename them: {' or '.join(CHATS[:2])}, or one of {', '.join(PROMPTS[:4])} with one of "
            f"{', '.join(ANSWERS[:4])}."
        )
    return Schema(prompt=prompt, answer=answer)


def split_row(row: Mapping[str, Any], schema: Schema) -> tuple[list[Message], Row]:
    """Split a row into its messages, the answer last, and the fields beside them.

    Raises:
        ValueError: the row does not end in an assistant's text.
    """
    if schema.chat:
        used, messages = {schema.chat}, [_message(turn) for turn in _turns(row[schema.chat], schema.chat)]
    else:
        assert schema.prompt and schema.answer
        used = {schema.prompt, schema.answer, *CONTEXTS}
        messages = _pair(row, schema.prompt, schema.answer)
    system = next((row[name] for name in SYSTEMS if isinstance(row.get(name), str) and row[name].strip()), None)
    if system and messages[0]["role"] != "system":
        messages, used = [{"role": "system", "content": system}, *messages], used | set(SYSTEMS)
    if messages[-1]["role"] != "assistant":
        raise ValueError(f"The chat ends with {messages[-1]['role']!r}, not with the assistant's answer.")
    if len(messages) < 2:
        raise ValueError("The chat has an answer and no question.")
    _refuse_shown(row, messages)
    return messages, {name: value for name, value in row.items() if name not in used}


def _turns(value: object, name: str) -> list[object]:
    """Return the turns of a chat's column."""
    if not isinstance(value, (list, tuple)) or not value:
        raise ValueError(f"{name!r} holds {_kind(value)}, not a list of turns.")
    return list(value)


def _message(turn: object) -> Message:
    """Return a turn as role and content, from {"role", "content"} or {"from", "value"}."""
    if not isinstance(turn, Mapping):
        raise ValueError(f"A turn is {_kind(turn)}, not an object with role and content (or from and value).")
    role, content = turn.get("role", turn.get("from")), turn.get("content", turn.get("value"))
    if role not in _ROLES:
        raise ValueError(f"A turn has the role {role!r}; known are {', '.join(_ROLES)}.")
    refuse_media(turn, "A turn")
    return {"role": _ROLES[role], "content": _text(joined_text(content, "A turn"), "a turn")}


def _refuse_shown(row: Mapping[str, Any], messages: Sequence[Message]) -> None:
    """Raise ValueError where a text has the place of an image, a video or a sound that lies beside the chat."""
    text = "".join(turn["content"] for turn in messages)
    shown = next((name for name in SHOWN if f"<{name}>" in text and (row.get(name) or row.get(f"{name}s"))), None)
    if shown:
        raise ValueError(f"The chat is about something beside it ({shown}); only text can be read, so leave it out.")


def _pair(row: Mapping[str, Any], prompt_column: str, answer_column: str) -> list[Message]:
    """Return the messages of a prompt and an answer, each a text or, as TRL has them, a list of messages."""
    prompt, answer = row[prompt_column], row[answer_column]
    if isinstance(prompt, list) and isinstance(answer, list) and prompt and answer:
        return [_message(turn) for turn in (*prompt, *answer)]
    asked = _text(prompt, prompt_column)
    context = next((row[name] for name in CONTEXTS if isinstance(row.get(name), str) and row[name].strip()), "")
    return [
        {"role": "user", "content": f"{asked}\n{context}" if context else asked},
        {"role": "assistant", "content": _text(answer, answer_column)},
    ]


def _text(value: object, where: str) -> str:
    """Return a value that must be a text."""
    if not isinstance(value, str):
        raise ValueError(f"{where} holds {_kind(value)}, not a text.")
    return value


def _kind(value: object) -> str:
    """Return the kind of a value for an error message."""
    return "nothing" if value is None or value == [] else type(value).__name__
