"""The chat by which another engine's model is asked for one part of an answer.

The chat stays as it is but for its last message, behind which stand the outline, whatever is written already, and which
part is to be written. The part comes last: the prompts of all parts begin alike, so that an engine with a prefix cache
reads once what they share.
"""

from collections.abc import Callable, Sequence
from typing import Any

from .planned_parts import Round

Chat = list[dict[str, Any]]
WORDS_PER_TOKEN = 0.75  # models keep to a number of words better than to one of tokens, which they do not see


def with_question(chat: Chat, change: Callable[[str], str]) -> Chat:
    """Return a chat with another question at its end, made from the present one."""
    if chat[-1]["role"] == "user":
        return [*chat[:-1], {**chat[-1], "content": change(chat[-1]["content"])}]
    return [*chat, {"role": "user", "content": change("")}]


def part_chat(chat: Chat, rounds: Sequence[Round], texts: Sequence[str | None], number: int) -> Chat:
    """Return the chat that asks for a part.

    Args:
        chat: the client's, which ends in the question.
        rounds: of the plan, as far as they are known.
        texts: of the parts, in their order, that the writer may see; None for the others.
        number: of the part, counted over all rounds from 0.
    """
    parts = [part for one in rounds for part in one]
    outline = "\n".join(f"{index}. {part.topic}" for index, part in enumerate(parts, start=1))
    written = "".join(
        f"\n\nPart {index} is written already:\n{text.strip()}"
        for index, text in enumerate(texts, start=1)
        if text is not None
    )
    part = parts[number]
    words = max(1, round(part.length * WORDS_PER_TOKEN))
    return with_question(
        chat,
        lambda question: (
            f"{question}\n\n---\nSeveral writers answer this at the same time, each one part of this outline:\n"
            f"{outline}{written}\n\nWrite only part {number + 1}: {part.topic}. Write about {words} words of plain "
            "answer, without greeting, introduction or conclusion, and nothing that belongs to another part."
        ),
    )
