"""Chat records as integers: prompt and answer to token ids and, per token, span, round and whether it is a target.

A record is `{"messages": [{"role", "content"}, ...]}`; the last message is the assistant's answer, plain or tagged (see
`tagged.py`). User text that spells a control token stays text. This module knows nothing of noise, batches or models.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..generation.tokens import ControlTokens
from ..generation.visibility import NO_SPAN
from ..records.encoding import encode_prompt, encode_text
from ..records.tagged import parse_tagged, plain_text

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
