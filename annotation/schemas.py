"""Rows of ordinary question/answer data as chat messages: which columns hold what, and what is kept beside them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

CHATS = ("messages", "conversations", "conversation", "chat", "dialog")
PROMPTS = ("prompt", "instruction", "question", "query", "request", "problem", "user")
ANSWERS = ("response", "completion", "output", "answer", "solution", "assistant", "chosen")
CONTEXTS = ("input", "context")  # follow the prompt, after a line break
SYSTEMS = ("system", "system_prompt")
_ROLES = {
    "user": "user", "human": "user", "prompter": "user",
    "assistant": "assistant", "gpt": "assistant", "model": "assistant", "bot": "assistant", "chatgpt": "assistant",
    "system": "system", "developer": "system",
}  # fmt: skip


@dataclass(frozen=True)
class Schema:
    """The columns that become messages: of a whole chat, or of prompt and answer with what goes with them."""

    chat: str | None = None
    prompt: str | None = None
    answer: str | None = None

    def __str__(self) -> str:
        return self.chat or f"{self.prompt} and {self.answer}"


def schema_of(columns: Sequence[str]) -> Schema:
    """The schema that these columns show.

    Raises:
        ValueError: they show none; the message names them and what is looked for.
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


def split_row(row: Mapping, schema: Schema) -> tuple[list[dict], dict]:
    """Messages, the answer last, and the fields beside them.

    Raises:
        ValueError: the row does not end in an assistant's text.
    """
    if schema.chat:
        used, messages = {schema.chat}, [_message(turn) for turn in _turns(row[schema.chat], schema.chat)]
    else:
        used = {schema.prompt, schema.answer, *CONTEXTS}
        messages = _pair(row, schema)
    system = next((row[name] for name in SYSTEMS if isinstance(row.get(name), str) and row[name].strip()), None)
    if system and messages[0]["role"] != "system":
        messages, used = [{"role": "system", "content": system}, *messages], used | set(SYSTEMS)
    if messages[-1]["role"] != "assistant":
        raise ValueError(f"The chat ends with {messages[-1]['role']!r}, not with the assistant's answer.")
    if len(messages) < 2:
        raise ValueError("The chat has an answer and no question.")
    return messages, {name: value for name, value in row.items() if name not in used}


def _turns(value, name: str) -> list:
    if not isinstance(value, (list, tuple)) or not value:
        raise ValueError(f"{name!r} holds {_kind(value)}, not a list of turns.")
    return list(value)


def _message(turn) -> dict:
    """One turn as role and content, from {"role", "content"} or {"from", "value"}."""
    if not isinstance(turn, Mapping):
        raise ValueError(f"A turn is {_kind(turn)}, not an object with role and content (or from and value).")
    role, content = turn.get("role", turn.get("from")), turn.get("content", turn.get("value"))
    if role not in _ROLES:
        raise ValueError(f"A turn has the role {role!r}; known are {', '.join(_ROLES)}.")
    return {"role": _ROLES[role], "content": _text(_joined(content), "a turn")}


def _joined(content):
    """The text of a content in parts, `[{"type": "text", "text": ...}, ...]`; another content as it is."""
    is_text = isinstance(content, list) and all(isinstance(part, Mapping) and "text" in part for part in content)
    texts = [part["text"] for part in content] if is_text else []
    return "".join(texts) if texts and all(isinstance(text, str) for text in texts) else content


def _pair(row: Mapping, schema: Schema) -> list[dict]:
    """Messages of a prompt and an answer, each a text or, as TRL has them, a list of messages."""
    prompt, answer = row[schema.prompt], row[schema.answer]
    if isinstance(prompt, list) and isinstance(answer, list) and prompt and answer:
        return [_message(turn) for turn in (*prompt, *answer)]
    asked = _text(prompt, schema.prompt)
    context = next((row[name] for name in CONTEXTS if isinstance(row.get(name), str) and row[name].strip()), "")
    return [
        {"role": "user", "content": f"{asked}\n{context}" if context else asked},
        {"role": "assistant", "content": _text(answer, schema.answer)},
    ]


def _text(value, where: str) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{where} holds {_kind(value)}, not a text.")
    return value


def _kind(value) -> str:
    return "nothing" if value is None or value == [] else type(value).__name__
