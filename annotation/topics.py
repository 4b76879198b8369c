"""Topics of one to three words, taken from the text that they announce."""

import re
from collections.abc import Collection, Sequence
from itertools import chain, count

from .words import EMPTY, NUMBERS

MOST_WORDS = 3
LONGEST_WORD = 24  # characters
_LONGEST_UNSPACED = 8  # of scripts that write no spaces between words
_FIRST_UNSPACED = "\u2e80"  # Chinese, Japanese and what follows them in Unicode
_READ = 240  # characters of a part
_LETTER = re.compile(r"[^\W\d_]")
_BARE = re.compile(r"[a-zA-Z]|\d+")
_PREPOSITIONS = frozenset(("of", "for", "in", "with", "to", "from", "on", "at", "by", "and", "or"))

_MARKER = re.compile(
    r"\s*(?:#{1,6}\s|[-*+\u2022\u2023\u25aa\u25cf\u25cb\u00b7\u2013\u2014]\s|\(?(?:\d{1,3}|[a-zA-Z]|[ivxIVX]{1,4})[.):]\s*|"
    r"(?:step|day|week|month|phase|stage|tip|reason|option|idea|point)\s+\d{1,2}\s*[:.)-]\s*)?[\s*_\"'`]*",
    re.IGNORECASE,
)
_LABEL = re.compile(r"[^\n.!?:]{2,60}?(?=:|\*\*|\s[-\u2013\u2014]\s|\s*\n|\s*$)")
_WORD = re.compile(r"[^\W_]+(?:['\u2019-][^\W_]+)*")


def topic_of(parts: Sequence[str], used: Collection[str] = ()) -> str:
    """A topic for a span of one or more parts, other than those used (in small letters), by further words of the span
    or else by a number word; "" for a text without words."""
    if len(parts) > 1:
        heads = dict.fromkeys(_head(part) for part in parts)
        words = [word for word in heads if _LETTER.search(word)]
    else:
        label, is_label = _leading(parts[0])
        topic = " ".join(label)
        if is_label and len(label) <= MOST_WORDS and _LETTER.search(topic) and topic.lower() not in used:
            return topic
        words = [] if is_label and len(label) <= MOST_WORDS else _telling(label)
    telling = _telling(_beginnings(parts))
    return _fresh(words, used) or _fresh(telling, used) or _numbered(words or telling, used)


def _leading(part: str) -> tuple[list[str], bool]:
    """The words of a part's label, or else of its beginning; whether it is a label."""
    start = _MARKER.match(part).end()
    label = _LABEL.match(part, start)
    if label and (words := _words(label[0])) and len(words) <= 2 * MOST_WORDS:
        return words, True
    return _words(part[start : start + _READ]), False


def _words(text: str) -> list[str]:
    return [word[: LONGEST_WORD if word[0] < _FIRST_UNSPACED else _LONGEST_UNSPACED] for word in _WORD.findall(text)]


def _telling(words: list[str]) -> list[str]:
    """Without empty words, numbers and single letters, unless nothing else is there."""
    return [word for word in words if word.lower() not in EMPTY and not _BARE.fullmatch(word)] or words


def _head(part: str) -> str:
    """The word that stands for a part among others: a short label's noun, else its first telling word."""
    words, is_label = _leading(part)
    cut = next((place for place, word in enumerate(words) if place and word.lower() in _PREPOSITIONS), len(words))
    telling = _telling(words[:cut])
    if not telling:
        return ""
    return telling[-1] if is_label and len(telling) <= MOST_WORDS else telling[0]


def _beginnings(parts: Sequence[str]) -> list[str]:
    starts = (_MARKER.match(part).end() for part in parts)
    return [word for part, start in zip(parts, starts, strict=True) for word in _words(part[start : start + _READ])]


def _fresh(words: list[str], used: Collection[str]) -> str:
    """The first three words in a row that are not used yet; "" if all are."""
    starts = range(max(1, len(words) - MOST_WORDS + 1))
    topics = (" ".join(words[start : start + MOST_WORDS]) for start in starts)
    return next((topic for topic in topics if topic.lower() not in used), "")


def _numbered(words: list[str], used: Collection[str]) -> str:
    """The first two words and the first number that make an unused topic."""
    if not words:
        return ""
    topics = (" ".join((*words[: MOST_WORDS - 1], number)) for number in chain(NUMBERS, map(str, count(2))))
    return next(topic for topic in topics if topic.lower() not in used)
