"""Tagged answers as text: the grammar, a parser, a writer and the way back to plain text.

An answer is plain text, or tagged text: rounds of promises followed by as many spans (grammar: arXiv 2510.18087,
section 3.1). Number x unit is a promised length in tokens.

    <promise>-<topic>definition 3</topic><promise>-<topic>cause 4</topic>
    <async>An aurora ...</async><async> It is ...</async>
    <sync/> next round ...                                         (written without the line breaks shown here)

Deleting every promise (tag to tag) and every tag from it gives the answer byte for byte. This module knows no
tokenizer.
"""

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ..generation.tokens import SPELLING

PROMISE, TOPIC_END, ASYNC, ASYNC_END, SYNC = (
    SPELLING[f"{name}_token_id"] for name in ("promise_start", "topic_end", "async_start", "async_end", "sync")
)
TAGS = (PROMISE, TOPIC_END, ASYNC, ASYNC_END, SYNC)  # [PAD] is drawn in training and never written in a record
_ANY_TAG = re.compile("(" + "|".join(map(re.escape, TAGS)) + ")")
_TOPIC_AND_NUMBER = re.compile(r"(?:(.*) )?([0-9]+)", re.DOTALL)


@dataclass(frozen=True)
class TaggedPart:
    """One promise and its span: `number` counts length units, `text` is the span's own text."""

    topic: str
    number: int
    text: str


def is_tagged(text: str) -> bool:
    """Whether a text contains any structural tag (it may still be malformed)."""
    return _ANY_TAG.search(text) is not None


def parse_tagged(text: str) -> tuple[tuple[TaggedPart, ...], ...]:
    """The rounds of a tagged answer; an empty tuple for plain text, which is an ordinary answer.

    Raises:
        ValueError: the tags do not follow the grammar (the message says which and where).
    """
    if not is_tagged(text):
        return ()
    pieces = _ANY_TAG.split(text)  # text, tag, text, tag, ..., text
    texts, tags = pieces[0::2], pieces[1::2]
    rounds, promises, spans, open_tag = [], [], [], None
    if texts[0]:
        raise _outside(texts[0])
    for tag, inner in zip(tags, texts[1:], strict=True):
        if open_tag is not None:
            _check_closes(open_tag, tag)
            open_tag = None
        elif tag in (TOPIC_END, ASYNC_END):
            raise ValueError(
                f"{tag} closes nothing (before it: {spans[-1:] or promises[-1:] or 'the beginning'}); "
                f"write its opening tag or remove it."
            )
        elif tag == PROMISE and spans:
            raise ValueError(
                f"The promise {inner!r} comes after the round's first span; write all promises of a round "
                f"before its spans, or {SYNC} before a new round."
            )
        elif tag == SYNC:
            rounds.append(_paired(promises, spans))
            promises, spans = [], []
        if tag in (PROMISE, ASYNC):
            open_tag = tag
            promises.append(_topic_and_number(inner)) if tag == PROMISE else spans.append(_not_empty(inner, len(spans)))
        elif inner:
            raise _outside(inner)
    if open_tag is not None:
        raise ValueError(
            f"{open_tag} is never closed; write {TOPIC_END if open_tag == PROMISE else ASYNC_END} after it."
        )
    if not promises and not spans:
        raise ValueError(
            f"The answer ends in {SYNC}, which announces another round; write that round or remove the tag."
        )
    rounds.append(_paired(promises, spans))
    return tuple(rounds)


def _check_closes(open_tag: str, tag: str):
    expected = TOPIC_END if open_tag == PROMISE else ASYNC_END
    if tag != expected:
        raise ValueError(f"{tag} stands inside {open_tag}; close it with {expected} first (tags do not nest).")


def _outside(text: str) -> ValueError:
    return ValueError(
        f"The text {text[:40]!r} stands outside the spans of a tagged answer; move it, white space included, "
        f"into {ASYNC} ... {ASYNC_END}."
    )


def _not_empty(text: str, index: int) -> str:
    if not text:
        raise ValueError(f"Span {index + 1} of a round is empty; give it text, or remove it and its promise.")
    return text


def _topic_and_number(inner: str) -> tuple[str, int]:
    match = _TOPIC_AND_NUMBER.fullmatch(inner)
    if match is None:
        raise ValueError(
            f"The promise {inner!r} has no number; write its topic, a space and the length in units, as in "
            f"'{PROMISE}cause 4{TOPIC_END}'."
        )
    if int(match[2]) < 1:
        raise ValueError(
            f"The promise {inner!r} has length {match[2]}; the number counts length units and is at least 1."
        )
    return match[1] or "", int(match[2])


def _paired(promises, spans) -> tuple[TaggedPart, ...]:
    if len(promises) != len(spans) or not promises:
        raise ValueError(
            f"A round has {len(promises)} promises and {len(spans)} spans; write one span per promise, at "
            "least one, in the same order."
        )
    return tuple(TaggedPart(*promise, text) for promise, text in zip(promises, spans, strict=True))


def plain_text(tagged: str) -> str:
    """The answer without plan and tags, byte for byte; plain text is returned as it is.

    Raises:
        ValueError: as `parse_tagged`.
    """
    rounds = parse_tagged(tagged)
    return "".join(part.text for parts in rounds for part in parts) if rounds else tagged


def write_tagged(
    rounds: Sequence[Sequence[tuple[str, str]]], count_tokens: Callable[[str], int], tokens_per_length_unit: int
) -> str:
    """Tagged text of rounds of (topic, text); each number is ceil(tokens of the text / unit), so room is never short.

    Args:
        count_tokens: the tokens of a span's text, e.g. `lambda text: len(encode_text(tokenizer, text))`.

    Raises:
        ValueError: a round or text is empty, or a topic or text spells a tag.
    """
    written = []
    for parts in rounds:
        numbers = [max(1, math.ceil(count_tokens(text) / tokens_per_length_unit)) for _, text in parts]
        for topic, text in parts:
            if is_tagged(topic) or is_tagged(text):
                raise ValueError(
                    f"The part {topic!r}: {text[:40]!r} spells one of the tags {', '.join(TAGS)}; write the "
                    "answer without tags, or keep it as a plain answer."
                )
        promises = "".join(
            f"{PROMISE}{topic} {number}{TOPIC_END}" if topic else f"{PROMISE}{number}{TOPIC_END}"
            for (topic, _), number in zip(parts, numbers, strict=True)
        )
        written.append(promises + "".join(f"{ASYNC}{text}{ASYNC_END}" for _, text in parts))
    tagged = SYNC.join(written)
    if not tagged:
        raise ValueError("There is nothing to write: give at least one round with one (topic, text).")
    parse_tagged(tagged)  # an empty round or text ends here
    return tagged
