"""Encode text and chats as token ids in which only the template's own control tokens are control tokens."""

import uuid
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

from jinja2 import TemplateError, TemplateSyntaxError

from .chat_templates import default_template
from .content import joined_text
from .escaping import MARK, escapes_contents, spelled_ids

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def encode_text(tokenizer: "PreTrainedTokenizerBase", text: str) -> list[int]:
    """Return the ids of a text, none of them special: a spelling such as `<async>` in it becomes ordinary tokens.

    `split_special_tokens` of the fast tokenizers does that for tokens flagged as special only (checked with tokenizers
    0.22). A control token that was added without the flag is cut in its middle, so that its two halves are text.

    Raises:
        ValueError: the text contains a special token of one character, which cannot be cut.
    """
    if not text:
        return []
    ids = tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"]
    for spelling, index in spelled_ids(tokenizer).items():
        if index in ids and spelling in text:
            if len(spelling) < 2:
                raise ValueError(f"The text contains {spelling!r}, a special token of one character; remove it.")
            middle = text.index(spelling) + len(spelling) // 2
            return encode_text(tokenizer, text[:middle]) + encode_text(tokenizer, text[middle:])
    return ids


def encode_bare(tokenizer: "PreTrainedTokenizerBase", text: str) -> list[int]:
    """Return the ids of a text as the tokenizer gives them, with the tokens that it puts around every text.

    Spellings of special tokens in the text itself are ordinary tokens, see `encode_text`.

    Raises:
        ValueError: the text contains a special token of one character, which cannot be cut.
    """
    sample = encode_text(tokenizer, "a")
    full = tokenizer("a")["input_ids"]
    start = next((place for place in range(len(full)) if full[place : place + len(sample)] == sample), 0)
    return [*full[:start], *encode_text(tokenizer, text), *full[start + len(sample) :]]


def encode_prompt(tokenizer: "PreTrainedTokenizerBase", messages: str | Sequence[dict[str, Any]]) -> list[int]:
    """Return the ids of a chat up to the point where the answer begins, through the tokenizer's chat template.

    A string is one user message; a content given in parts is their text. Without a chat template, a single message's
    text is the prompt as it is.

    Raises:
        ValueError: several messages without a chat template, several templates without a default, a template that
            refuses the messages or rewrites one which spells special tokens, or a part of a content that is no text.
    """
    if isinstance(messages, str):
        messages = [{"role": "user", "content": messages}]
    messages = [
        {**message, "content": joined_text(message["content"], "The content of a message")} for message in messages
    ]
    template = default_template(tokenizer)
    if template is None:
        if len(messages) != 1:
            raise ValueError(
                f"The tokenizer has no chat template, so it cannot join {len(messages)} messages; give one "
                "message, or set tokenizer.chat_template."
            )
        return encode_bare(tokenizer, messages[0]["content"])
    spellings = spelled_ids(tokenizer)
    try:
        spelled = any(spelling in message["content"] for message in messages for spelling in spellings)
        if spelled and not escapes_contents(tokenizer):
            return _encode_around_contents(tokenizer, messages)
        ids = tokenizer.apply_chat_template(
            list(messages), chat_template=template, add_generation_prompt=True, return_dict=False
        )
        return cast(list[int], ids)
    except TemplateSyntaxError as error:
        raise ValueError(
            f"The tokenizer's chat template is broken ({error}, line {error.lineno}); write it anew, or take the "
            "tokenizer files that belong to this checkpoint."
        ) from error
    except TemplateError as error:
        raise ValueError(
            f"The tokenizer's chat template refuses these messages ({error}); give it roles in an order that it takes."
        ) from error


def _encode_around_contents(tokenizer: "PreTrainedTokenizerBase", messages: Sequence[dict[str, Any]]) -> list[int]:
    """Tokenize the template's own pieces with their special tokens, and the contents between them as text only."""
    ids = []
    for piece, is_content in _pieces_of_chat(tokenizer, messages):
        ids += encode_text(tokenizer, piece) if is_content else tokenizer(piece, add_special_tokens=False)["input_ids"]
    return ids


def _pieces_of_chat(tokenizer: "PreTrainedTokenizerBase", messages: Sequence[dict[str, Any]]) -> list[tuple[str, bool]]:
    """Cut a rendered chat into pieces, each with whether it is a message's content.

    The chat is rendered a second time with a unique mark in place of each content, which shows where contents lie.
    """
    marks = [f"{uuid.uuid4().hex}{index}|" for index in range(len(messages))]
    template = default_template(tokenizer)

    def render(contents: Sequence[str]) -> str:
        chat = [{**message, "content": content} for message, content in zip(messages, contents, strict=True)]
        text = tokenizer.apply_chat_template(chat, chat_template=template, add_generation_prompt=True, tokenize=False)
        return cast(str, text).replace(MARK, "")  # of a template whose marks this tokenizer does not take out

    contents = [message["content"] for message in messages]
    rendered, marked = render(contents), render(marks)
    for change in (str, str.strip):  # many templates strip the contents that they insert
        pieces, rest = [], marked
        for mark, content in zip(marks, map(change, contents), strict=True):
            before, found, rest = rest.partition(mark)
            if not found:
                break
            pieces += [(before, False), (content, True)]
        pieces.append((rest, False))
        if "".join(piece for piece, _ in pieces) == rendered:
            return pieces
    raise ValueError(
        "A message spells a special token of the tokenizer and the chat template rewrites messages, so "
        "it cannot be told apart from a real one; remove the token from the message."
    )
