"""Write a plan of topics and texts as a record in tagged text with the promised lengths, and check it.

The invariants, each checked on every record before it is written:
    1. without plan and tags the record is the original answer, byte for byte;
    2. every character of it, and so every content token, lies in exactly one span (tags do not nest);
    3. the promised room of a span is never smaller than its tokens;
    4. the answer itself spells no tag.
Numbers count length units of the checkpoint that will be trained; its tokenizer counts, as in training.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..records.encoding import encode_text, spelled_ids
from ..records.tagged import TAGS, Rounds, TaggedRounds, TaggedSpan, is_tagged, parse_tagged, write_tagged

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

PLAN_TAGS = 2  # tokens of a promise beside its topic and digits


@dataclass(frozen=True)
class Sizes:
    """The tokens of an answer, per round: of each span's text, and of the promises with their tags and numbers."""

    spans: Sequence[Sequence[int]]
    plan: Sequence[int]


class TokenCounter:
    """Counts the tokens of texts as `encode_text` does, many at a time."""

    def __init__(self, tokenizer: "PreTrainedTokenizerBase", tokens_per_length_unit: int) -> None:
        self.tokenizer, self.unit = tokenizer, tokens_per_length_unit
        self._backend = getattr(tokenizer, "backend_tokenizer", None) if tokenizer.is_fast else None
        if self._backend is not None:
            self._backend.no_truncation()
            self._backend.no_padding()
        self._spelled = re.compile("|".join(map(re.escape, spelled_ids(tokenizer))) or r"(?!)")

    def count(self, texts: Sequence[str]) -> list[int]:
        """Return the tokens of each text; texts that spell special tokens, which must stay text, are encoded singly."""
        if self._backend is None:
            return [len(encode_text(self.tokenizer, text)) for text in texts]
        is_simple = [not self._spelled.search(text) for text in texts]
        simple = [text for text, fits in zip(texts, is_simple, strict=True) if fits]
        counted = iter(self._backend.encode_batch_fast(simple, add_special_tokens=False) if simple else ())
        return [
            len(next(counted)) if fits else len(encode_text(self.tokenizer, text))
            for text, fits in zip(texts, is_simple, strict=True)
        ]

    def tally(self, plans: Iterable[Rounds]) -> dict[str, int]:
        """Return text -> tokens for every span and every topic (with the space that follows it in a plan)."""
        spans = [span for rounds in plans for spans in rounds for span in spans]
        listed = list({counted for topic, text in spans for counted in (text, f"{topic} ") if counted})
        return dict(zip(listed, self.count(listed), strict=True))


def refuse_tags(answer: str) -> None:
    """Raise ValueError where an answer spells a tag, which only plans may hold."""
    if is_tagged(answer):
        found = next(tag for tag in TAGS if tag in answer)
        raise ValueError(f"The answer spells the tag {found}, which only plans may hold; remove it.")


def tagged_answer(answer: str, rounds: Rounds, tokens: dict[str, int], unit: int) -> tuple[str, Sizes]:
    """Return the answer in tagged text, and its sizes; without rounds the answer as it is.

    Args:
        tokens: text -> its tokens, of every span and topic (`TokenCounter.tally`).

    Raises:
        ValueError: an invariant does not hold; the message says which.
    """
    refuse_tags(answer)
    if not rounds:
        return answer, Sizes((), ())
    tagged = write_tagged(rounds, tokens.__getitem__, unit)
    parsed = parse_tagged(tagged)
    check_record(answer, parsed, tokens, unit)
    return tagged, Sizes(
        spans=tuple(tuple(tokens[span.text] for span in spans) for spans in parsed),
        plan=tuple(sum(_promise_tokens(span, tokens) for span in spans) for spans in parsed),
    )


def _promise_tokens(span: TaggedSpan, tokens: dict[str, int]) -> int:
    """Count the tokens of a promise: its tags, its topic, and a token per digit of its number."""
    return PLAN_TAGS + (tokens[f"{span.topic} "] if span.topic else 0) + len(str(span.number))


def check_record(answer: str, parsed: TaggedRounds, tokens: dict[str, int], unit: int) -> None:
    """Raise ValueError where a parsed record is not the answer, or promises a span less room than it needs."""
    spans = [span for spans in parsed for span in spans]
    if "".join(span.text for span in spans) != answer:
        raise ValueError("Without plan and tags the record is not the original answer.")
    for span in spans:
        if span.number * unit < tokens[span.text]:
            raise ValueError(f"{span.topic!r} promises {span.number * unit} tokens and needs {tokens[span.text]}.")
