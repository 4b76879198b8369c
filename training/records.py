"""Chat records as integers: prompt and answer to token ids and, per token, span, round and whether it is a target.

A record is `{"messages": [{"role", "content"}, ...]}`; the last message is the assistant's answer, plain or tagged (see
`tagged.py`). User text that spells a control token stays text. This module knows nothing of noise, batches or models.
"""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jinja2 import TemplateError

from ..generation.tokens import SPELLING, ControlTokens
from ..generation.visibility import NO_SPAN
from .tagged import parse_tagged, plain_text

ROLES = ("system", "user", "assistant", "tool")


@dataclass(frozen=True)
class Example:
    """A record as integers, before padding and noise; all arrays have length N (tokens of prompt and answer, EOS last).

    ids        int64
    span       int64, the span's index in the answer, -1 outside the spans
    round      int64, how many `<sync/>` precede the token, itself included if it is one
    is_target  bool, False for the prompt and for `<async>`, `</async>`, which are given at generation time
    plain_answer  int64 [M], the answer without plan and tags, EOS included; what autoregressive decoding writes
    """

    ids: np.ndarray
    span: np.ndarray
    round: np.ndarray
    is_target: np.ndarray
    plain_answer: np.ndarray

    @property
    def prompt_length(self) -> int:
        return int(np.argmax(self.is_target))  # an answer never begins with <async>

    @property
    def most_spans(self) -> int:
        """Spans of the round that has most of them."""
        first_tokens = np.flatnonzero((self.span[1:] != self.span[:-1]) & (self.span[1:] != NO_SPAN)) + 1
        return int(np.bincount(self.round[first_tokens]).max()) if len(first_tokens) else 0

    @property
    def is_tagged(self) -> bool:
        return bool(self.span[-2] != NO_SPAN)  # a tagged answer ends in a span and EOS


def encode_example(messages: Sequence[dict], tokenizer, control: ControlTokens) -> Example:
    """The ids and labels of a chat whose last message is the answer to learn; earlier answers lose their tags.

    Topics are tokenized with the space that follows them and numbers digit by digit, so that numbers never merge.

    Raises:
        ValueError: a message without a known role or text, no answer at the end, an empty answer, tags that do not
            follow the grammar, or a chat template that refuses the messages.
    """
    prompt, answer = _split_answer(messages)
    rounds = parse_tagged(answer)
    prompt_ids = encode_prompt(tokenizer, prompt)
    if not prompt_ids:
        raise ValueError("The prompt is empty: there is no token from which the answer's first one could be predicted.")
    plain = [*encode_text(tokenizer, plain_text(answer)), control.eos[0]]
    tokens = [(token, NO_SPAN, 0, False) for token in prompt_ids]
    tokens += _encode_rounds(rounds, tokenizer, control) if rounds else [(token, NO_SPAN, 0, True) for token in plain]
    columns = np.array(tokens, dtype=np.int64)  # [N, 4]
    return Example(
        ids=columns[:, 0],
        span=columns[:, 1],
        round=columns[:, 2],
        is_target=columns[:, 3].astype(bool),
        plain_answer=np.array(plain, dtype=np.int64),
    )


def _split_answer(messages: Sequence[dict]) -> tuple[list[dict], str]:
    """The messages before the answer, earlier answers as plain text, and the answer."""
    for message in messages:
        _check_message(message)
    if not messages or messages[-1]["role"] != "assistant":
        last = messages[-1]["role"] if messages else "no message"
        raise ValueError(f"The record ends with {last!r}; its last message must be the assistant's answer.")
    if not messages[-1]["content"]:
        raise ValueError("The assistant's answer is empty; remove the record or write an answer.")
    prompt = [
        {**message, "content": plain_text(message["content"])} if message["role"] == "assistant" else message
        for message in messages[:-1]
    ]
    return prompt, messages[-1]["content"]


def _check_message(message: object):
    if not isinstance(message, dict):
        raise ValueError(f"A message is {type(message).__name__}; write an object with 'role' and 'content'.")
    if message.get("role") not in ROLES:
        raise ValueError(f"A message has the role {message.get('role')!r}; choose one of {', '.join(ROLES)}.")
    content = message.get("content")
    if not isinstance(content, str):
        raise ValueError(f"A message's content is {type(content).__name__}; records hold text only.")
    try:
        content.encode("utf-8")
    except UnicodeEncodeError as error:
        half = ascii(content[error.start])
        raise ValueError(f"A message holds {half}, half of a surrogate pair and no character; remove it.") from error


def _encode_rounds(rounds, tokenizer, control: ControlTokens) -> list[tuple[int, int, int, bool]]:
    """Id, span, round and target flag of every token of a tagged answer, EOS included."""
    tokens, span = [], 0
    for number_of_round, parts in enumerate(rounds):
        if number_of_round:
            tokens.append((control.sync, NO_SPAN, number_of_round, True))
        for part in parts:
            topic = encode_text(tokenizer, f"{part.topic} " if part.topic else "")
            number = [control.digits[int(digit)] for digit in str(part.number)]
            plan = (control.promise_start, *topic, *number, control.topic_end)
            tokens += [(token, NO_SPAN, number_of_round, True) for token in plan]
        for part in parts:
            content = encode_text(tokenizer, part.text)
            tokens.append((control.async_start, span, number_of_round, False))
            tokens += [(token, span, number_of_round, True) for token in content]
            tokens.append((control.async_end, span, number_of_round, False))
            span += 1
    tokens.append((control.eos[0], NO_SPAN, len(rounds) - 1, True))
    return tokens


def spelled_ids(tokenizer) -> dict[str, int]:
    """Spelling -> id of every token that text must never become: the special ones and the control tokens."""
    names = {*SPELLING.values(), tokenizer.mask_token}
    return {
        token.content: index
        for index, token in tokenizer.added_tokens_decoder.items()
        if token.special or token.content in names
    }


def encode_text(tokenizer, text: str) -> list[int]:
    """Ids of a text, none of them special: a spelling such as `<async>` or `</s>` in it becomes ordinary tokens.

    `split_special_tokens` of the fast tokenizers does that for tokens flagged as special only (checked with tokenizers
    0.22); a control token that was added without the flag is cut in its middle, so that its two halves are text.
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


def encode_prompt(tokenizer, messages: str | Sequence[dict]) -> list[int]:
    """Ids of a chat up to the point where the answer begins, through the tokenizer's chat template.

    A string is one user message. Without a chat template a single message's text is the prompt as it is.

    Raises:
        ValueError: several messages without a chat template, a template that refuses them, or one that rewrites a
            message which spells special tokens.
    """
    if isinstance(messages, str):
        messages = [{"role": "user", "content": messages}]
    if not tokenizer.chat_template:
        if len(messages) != 1:
            raise ValueError(
                f"The tokenizer has no chat template, so it cannot join {len(messages)} messages; give one "
                "message, or set tokenizer.chat_template."
            )
        start = tokenizer("")["input_ids"]  # what the tokenizer puts before any text: nothing, or a beginning token
        return [*start, *encode_text(tokenizer, messages[0]["content"])]
    spellings = spelled_ids(tokenizer)
    try:
        if any(spelling in message["content"] for message in messages for spelling in spellings):
            return _encode_around_contents(tokenizer, messages)
        return tokenizer.apply_chat_template(list(messages), add_generation_prompt=True, return_dict=False)
    except TemplateError as error:
        raise ValueError(
            f"The tokenizer's chat template refuses these messages ({error}); give it roles in an order that it takes."
        ) from error


def _encode_around_contents(tokenizer, messages: Sequence[dict]) -> list[int]:
    """The template's own pieces tokenized with their special tokens, the contents between them as text only."""
    marks = [f"{uuid.uuid4().hex}{index}|" for index in range(len(messages))]

    def render(contents):
        chat = [{**message, "content": content} for message, content in zip(messages, contents, strict=True)]
        return tokenizer.apply_chat_template(chat, add_generation_prompt=True, tokenize=False)

    contents = [message["content"] for message in messages]
    rendered, marked = render(contents), render(marks)
    for change in (str, str.strip):  # many templates strip what they insert
        pieces, rest = [], marked
        for mark, content in zip(marks, map(change, contents), strict=True):
            before, found, rest = rest.partition(mark)
            if not found:
                break
            pieces += [(before, False), (content, True)]
        pieces.append((rest, False))
        if "".join(piece for piece, _ in pieces) == rendered:
            break
    else:
        raise ValueError(
            "A message spells a special token of the tokenizer and the chat template rewrites messages, so "
            "it cannot be told apart from a real one; remove the token from the message."
        )
    ids = []
    for piece, is_content in pieces:
        ids += encode_text(tokenizer, piece) if is_content else tokenizer(piece, add_special_tokens=False)["input_ids"]
    return ids
