"""Chat records as integers: prompt and answer as token ids and, per token, its span, its round, whether it is learnt.

A record is `{"messages": [{"role", "content"}, ...]}`; the last message is the assistant's answer, plain or tagged (see
`records/tagged.py`). User text that spells a control token stays text. This module does not know noise, batches or
models.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from transformers import PreTrainedTokenizerBase

from ..generation.plan import opening_of, render_promise
from ..generation.tokens import ControlTokens
from ..generation.visibility import NO_SPAN
from ..records.checks import ROLES, check_utf8
from ..records.encoding import encode_prompt, encode_text
from ..records.tagged import TaggedRounds, parse_tagged, plain_text


@dataclass(frozen=True, slots=True)
class Promise:
    """A promise and its span: `number` length units were promised, `tokens` are used by the span's own text."""

    topic: str
    number: int
    tokens: int
    round_index: int


@dataclass(frozen=True)
class Example:
    """A record as integers, before padding and noise; arrays have length N (tokens of prompt and answer, EOS last).

    ids        int64
    span       int64, the span's index in the answer, -1 outside the spans
    round      int64, how many `<sync/>` precede the token, itself included if it is one
    is_target  bool, False for the prompt and for the opening and closing of spans, which are given at generation time
    prompt_length  tokens of the prompt
    plain_answer   int64 [M], the answer without plan and tags, EOS included, as autoregressive decoding writes it
    promises       one per span, in the order of the spans; none in a plain answer
    """

    ids: np.ndarray
    span: np.ndarray
    round: np.ndarray
    is_target: np.ndarray
    prompt_length: int
    plain_answer: np.ndarray
    promises: tuple[Promise, ...] = ()

    @property
    def is_tagged(self) -> bool:
        return bool(self.promises)

    @property
    def most_spans(self) -> int:
        """Number of spans in the round that has most of them."""
        return int(np.bincount([promise.round_index for promise in self.promises]).max()) if self.promises else 0


def encode_example(
    messages: Sequence[dict[str, Any]], tokenizer: PreTrainedTokenizerBase, control: ControlTokens
) -> Example:
    """Return the example of a chat whose last message is the answer to learn; earlier answers lose their tags.

    Topics are tokenized with the space that follows them and numbers digit by digit, so that numbers never merge.

    Raises:
        ValueError: a message without a known role or text, no answer at the end, an empty answer, tags that do not
            follow the grammar, or a chat template that refuses the messages.
    """
    prompt, answer = _split_answer(messages)
    return encode_answer(encode_prompt(tokenizer, prompt), answer, tokenizer, control)


def encode_answer(
    prompt_ids: Sequence[int], answer: str, tokenizer: PreTrainedTokenizerBase, control: ControlTokens
) -> Example:
    """Return the example of a prompt that is ids already, with a plain or tagged answer; see `encode_example`.

    Raises:
        ValueError: an empty prompt, or tags that do not follow the grammar.
    """
    rounds = parse_tagged(answer)
    if not prompt_ids:
        raise ValueError("The prompt is empty: there is no token from which the answer's first one could be predicted.")
    plain = "".join(span.text for spans in rounds for span in spans) if rounds else answer
    plain_ids = [*encode_text(tokenizer, plain), control.eos[0]]
    columns = _Columns()
    columns.add(prompt_ids, is_target=False)
    promises = ()
    if rounds:
        promises = _add_rounds(columns, rounds, tokenizer, control)
    else:
        columns.add(plain_ids)
    return Example(
        ids=np.array(columns.ids, dtype=np.int64),
        span=np.array(columns.span, dtype=np.int64),
        round=np.array(columns.round, dtype=np.int64),
        is_target=np.array(columns.is_target, dtype=bool),
        prompt_length=len(prompt_ids),
        plain_answer=np.array(plain_ids, dtype=np.int64),
        promises=promises,
    )


class _Columns:
    """The columns of an example while it is built."""

    def __init__(self) -> None:
        self.ids: list[int] = []
        self.span: list[int] = []
        self.round: list[int] = []
        self.is_target: list[bool] = []

    def add(self, ids: Sequence[int], span: int = NO_SPAN, round_index: int = 0, is_target: bool = True) -> None:
        """Append tokens that share their labels."""
        self.ids += ids
        self.span += [span] * len(ids)
        self.round += [round_index] * len(ids)
        self.is_target += [is_target] * len(ids)


def _add_rounds(
    columns: _Columns, rounds: TaggedRounds, tokenizer: PreTrainedTokenizerBase, control: ControlTokens
) -> tuple[Promise, ...]:
    """Append the tokens of a tagged answer, EOS included; return its promises."""
    promises: list[Promise] = []
    for index, spans in enumerate(rounds):
        if index:
            columns.add([control.sync], round_index=index)
        topics = [encode_text(tokenizer, f"{span.topic} " if span.topic else "") for span in spans]
        for span, topic in zip(spans, topics, strict=True):
            columns.add(render_promise(topic, span.number, control), round_index=index)
        for span, topic in zip(spans, topics, strict=True):
            content, place = encode_text(tokenizer, span.text), len(promises)
            columns.add(opening_of(topic, span.number, control), place, index, is_target=False)
            columns.add(content, place, index)
            columns.add([control.async_end], place, index, is_target=False)
            promises.append(Promise(span.topic, span.number, len(content), index))
    columns.add([control.eos[0]], round_index=len(rounds) - 1)
    return tuple(promises)


def _split_answer(messages: Sequence[dict[str, Any]]) -> tuple[list[dict[str, Any]], str]:
    """Return the messages before the answer, earlier answers as plain text, and the answer."""
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


def _check_message(message: object) -> None:
    """Raise ValueError where a message has no known role or no text."""
    if not isinstance(message, dict):
        raise ValueError(f"A message is {type(message).__name__}; write an object with 'role' and 'content'.")
    if message.get("role") not in ROLES:
        raise ValueError(f"A message has the role {message.get('role')!r}; choose one of {', '.join(ROLES)}.")
    content = message.get("content")
    if not isinstance(content, str):
        raise ValueError(f"A message's content is {type(content).__name__}; records hold text only.")
    check_utf8(content, "A message")
