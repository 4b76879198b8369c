"""From a plan of topics and texts to a record in tagged text, with the promised lengths, checked.

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

from ..records.encoding import encode_text, spelled_ids
from ..records.tagged import TAGS, is_tagged, parse_tagged, write_tagged

Rounds = Sequence[Sequence[tuple[str, str]]]
PLAN_TAGS = 2  # tokens of a promise beside its topic and digits


@dataclass(frozen=True)
class Sizes:
    """Tokens of an answer, per round: of each span's text, and of the promises with their tags and numbers."""

    spans: tuple[tuple[int, ...], ...]
    plan: tuple[int, ...]


class TokenCounter:
    """Counts the tokens of texts as `encode_text` does, many at a time."""

    def __init__(self, tokenizer, tokens_per_length_unit: int):
        self.tokenizer, self.unit = tokenizer, tokens_per_length_unit
        self._backend = tokenizer.backend_tokenizer if tokenizer.is_fast else None
        if self._backend is not None:
            self._backend.no_truncation()
            self._backend.no_padding()
        self._spelled = re.compile("|".join(map(re.escape, spelled_ids(tokenizer))) or r"(?!)")

    def count(self, texts: Sequence[str]) -> list[int]:
        """Tokens per text; texts that spell special tokens, which must stay text, take the slow way."""
        is_simple = [self._backend is not None and not self._spelled.search(text) for text in texts]
        simple = [text for text, fits in zip(texts, is_simple, strict=True) if fits]
        counted = iter(self._backend.encode_batch_fast(simple, add_special_tokens=False) if simple else ())
        return [
            len(next(counted)) if fits else len(encode_text(self.tokenizer, text))
            for text, fits in zip(texts, is_simple, strict=True)
        ]

    def tally(self, plans: Iterable[Rounds]) -> dict[str, int]:
        """Text -> tokens, of every span and every topic (with the space that follows it in a plan)."""
        texts = {
            part
            for rounds in plans
            for spans in rounds
            for topic, text in spans
            for part in (text, f"{topic} ")
            if part
        }
        listed = list(texts)
        return dict(zip(listed, self.count(listed), strict=True))


def refuse_tags(answer: str) -> None:
    """Raises ValueError where an answer spells a tag, which only plans may hold."""
    if is_tagged(answer):
        found = next(tag for tag in TAGS if tag in answer)
        raise ValueError(f"The answer spells the tag {found}, which only plans may hold; remove it.")


def tagged_answer(answer: str, rounds: Rounds, tokens: dict[str, int], unit: int) -> tuple[str, Sizes]:
    """The answer in tagged text, and its sizes; without rounds the answer as it is.

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
    check(answer, parsed, tokens, unit)
    return tagged, Sizes(
        spans=tuple(tuple(tokens[part.text] for part in parts) for parts in parsed),
        plan=tuple(
            sum(PLAN_TAGS + (tokens[f"{part.topic} "] if part.topic else 0) + len(str(part.number)) for part in parts)
            for parts in parsed
        ),
    )


def check(answer: str, parsed, tokens: dict[str, int], unit: int) -> None:
    """Raises ValueError where a parsed record is not the answer, or promises a span less room than it needs."""
    parts = [part for parts in parsed for part in parts]
    if "".join(part.text for part in parts) != answer:
        raise ValueError("Without plan and tags the record is not the original answer.")
    for part in parts:
        if part.number * unit < tokens[part.text]:
            raise ValueError(f"{part.topic!r} promises {part.number * unit} tokens and needs {tokens[part.text]}.")
