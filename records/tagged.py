"""Tagged answers as text: the grammar, a parser, a writer and the way back to plain text.

An answer is plain text, or tagged text: rounds of promises followed by as many spans (grammar: arXiv 2510.18087,
section 3.1). Number x unit is a promised length in tokens.

    <promise>-<topic>definition 3</topic><promise>-<topic>cause 4</topic>
    <async>An aurora ...</async><async> It is ...</async>
    <sync/> next round ...                                         (written without the line breaks shown here)

An answer without its promises (tag to tag) and tags is the plain answer, byte for byte. This module knows no tokenizer.
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
_CLOSES = {PROMISE: TOPIC_END, ASYNC: ASYNC_END}
_ANY_TAG = re.compile("(" + "|".join(map(re.escape, TAGS)) + ")")
_TOPIC_AND_NUMBER = re.compile(r"(?:(.*) )?([0-9]+)", re.DOTALL)


@dataclass(frozen=True)
class TaggedSpan:
    """A promise and its span: `number` counts length units, `text` is the span's own text."""

    topic: str
    number: int
    text: str


Spans = Sequence[tuple[str, str]]  # topic and text of each span of a round
Rounds = Sequence[Spans]
TaggedRounds = tuple[tuple[TaggedSpan, ...], ...]


def is_tagged(text: str) -> bool:
    """Tell whether a text contains any structural tag; the text may still be malformed."""
    return _ANY_TAG.search(text) is not None


def parse_tagged(text: str) -> TaggedRounds:
    """Return the rounds of a tagged answer; an empty tuple for plain text, which is an ordinary answer.

    Raises:
        ValueError: the tags do not follow the grammar (the message says which and where).
    """
    if not is_tagged(text):
        return ()
    pieces = _ANY_TAG.split(text)  # text, tag, text, tag, ..., text
    texts, tags = pieces[0::2], pieces[1::2]
    if texts[0]:
        raise _outside(texts[0])
    rounds, round_, open_tag = [], _OpenRound(), None
    for tag, inner in zip(tags, texts[1:], strict=True):
        if open_tag is not None:
            _check_closes(open_tag, tag)
            open_tag = None
        else:
            _check_begins(round_, tag, inner)
            if tag == SYNC:
                rounds.append(round_.paired())
                round_ = _OpenRound()
            else:
                open_tag = tag
                round_.add(tag, inner)
        if open_tag is None and inner:
            raise _outside(inner)
    if open_tag is not None:
        raise ValueError(f"{open_tag} is never closed; write {_CLOSES[open_tag]} after it.")
    if not round_.promises and not round_.texts:
        raise ValueError(
            f"The answer ends in {SYNC}, which announces another round; write that round or remove the tag."
        )
    return (*rounds, round_.paired())


class _OpenRound:
    """The promises and the texts of spans that have been read of a round."""

    def __init__(self) -> None:
        self.promises: list[tuple[str, int]] = []
        self.texts: list[str] = []

    def add(self, tag: str, inner: str) -> None:
        """Add the text behind an opening tag: a promise, or a span's text."""
        if tag == PROMISE:
            self.promises.append(_topic_and_number(inner))
        else:
            self.texts.append(_not_empty(inner, len(self.texts)))

    def paired(self) -> tuple[TaggedSpan, ...]:
        """Return the round, whose promises and spans must be equally many."""
        promises, texts = self.promises, self.texts
        if len(promises) != len(texts) or not promises:
            raise ValueError(
                f"A round has {len(promises)} promises and {len(texts)} spans; write one span per promise, at "
                "least one, in the same order."
            )
        return tuple(TaggedSpan(topic, number, text) for (topic, number), text in zip(promises, texts, strict=True))


def _check_begins(round_: _OpenRound, tag: str, inner: str) -> None:
    """Raise ValueError where a tag cannot stand outside promises and spans."""
    if tag in (TOPIC_END, ASYNC_END):
        raise ValueError(
            f"{tag} closes nothing (before it: {round_.texts[-1:] or round_.promises[-1:] or 'the beginning'}); "
            f"write its opening tag or remove it."
        )
    if tag == PROMISE and round_.texts:
        raise ValueError(
            f"The promise {inner!r} comes after the round's first span; write all promises of a round "
            f"before its spans, or {SYNC} before a new round."
        )


def _check_closes(open_tag: str, tag: str) -> None:
    """Raise ValueError where a tag does not close the open tag."""
    if tag != _CLOSES[open_tag]:
        raise ValueError(f"{tag} stands inside {open_tag}; close it with {_CLOSES[open_tag]} first (tags do not nest).")


def _outside(text: str) -> ValueError:
    """Return the error to raise for text between the spans."""
    return ValueError(
        f"The text {text[:40]!r} stands outside the spans of a tagged answer; move it, white space included, "
        f"into {ASYNC} ... {ASYNC_END}."
    )


def _not_empty(text: str, index: int) -> str:
    """Return a span's text, which must not be empty."""
    if not text:
        raise ValueError(f"Span {index + 1} of a round is empty; give it text, or remove it and its promise.")
    return text


def _topic_and_number(inner: str) -> tuple[str, int]:
    """Return the topic and the number of a promise."""
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


def plain_text(tagged: str) -> str:
    """Return the answer without plan and tags, byte for byte; plain text stays as it is.

    Raises:
        ValueError: as `parse_tagged`.
    """
    rounds = parse_tagged(tagged)
    return "".join(span.text for spans in rounds for span in spans) if rounds else tagged


def write_tagged(rounds: Rounds, count_tokens: Callable[[str], int], tokens_per_length_unit: int) -> str:
    """Return tagged text of rounds of (topic, text); each number is ceil(tokens of the text / unit): enough room.

    Args:
        count_tokens: the tokens of a span's text, e.g. `lambda text: len(encode_text(tokenizer, text))`.

    Raises:
        ValueError: a round or text is empty, or a topic or text spells a tag.
    """
    written = []
    for spans in rounds:
        promises = []
        for topic, text in spans:
            if is_tagged(topic) or is_tagged(text):
                raise ValueError(
                    f"The span {topic!r}: {text[:40]!r} spells one of the tags {', '.join(TAGS)}; write the "
                    "answer without tags, or keep it as a plain answer."
                )
            number = max(1, math.ceil(count_tokens(text) / tokens_per_length_unit))
            promises.append(f"{PROMISE}{topic} {number}{TOPIC_END}" if topic else f"{PROMISE}{number}{TOPIC_END}")
        written.append("".join(promises) + "".join(f"{ASYNC}{text}{ASYNC_END}" for _, text in spans))
    tagged = SYNC.join(written)
    if not tagged:
        raise ValueError("There is nothing to write: give at least one round with one (topic, text).")
    parse_tagged(tagged)  # an empty round or text ends here
    return tagged
