"""Topics of one to three words, taken from the text that they announce."""

import re
from collections.abc import Collection, Sequence

from .words import EMPTY

MOST_WORDS = 3
LONGEST_WORD = 24  # characters
_LONGEST_UNSPACED = 8  # of scripts that write no spaces between words
_FIRST_UNSPACED = "\u2e80"  # Chinese, Japanese and what follows them in Unicode
_READ = 240  # characters of a part
_LETTER = re.compile(r"[a-zA-Z]")
_PREPOSITIONS = frozenset(("of", "for", "in", "with", "to", "from", "on", "at", "by", "and", "or"))

_MARKER = re.compile(
    r"\s*(?:#{1,6}\s|[-*+\u2022\u2023\u25aa\u25cf\u25cb\u00b7\u2013\u2014]\s|\(?(?:\d{1,3}|[a-zA-Z]|[ivxIVX]{1,4})[.):]\s*|"
    r"(?:step|day|week|month|phase|stage|tip|reason|option|idea|point)\s+\d{1,2}\s*[:.)-]\s*)?[\s*_\"'`]*",
    re.IGNORECASE,
)
_LABEL = re.compile(r"[^\n.!?:]{2,60}?(?=:|\*\*|\s[-\u2013\u2014]\s|\s*\n|\s*$)")
_WORD = re.compile(r"[^\W_]+(?:['\u2019-][^\W_]+)*")


def topic_of(parts: Sequence[str], used: Collection[str] = ()) -> str:
    """A topic for a span of one or more parts, other than those used, if its words allow; "" for a text without
    words."""
    if len(parts) > 1:
        words = [word for part in parts if (word := _head(part))]
        return _fresh(list(dict.fromkeys(words)) or _leading(parts[0])[0], used)
    words, is_label = _leading(parts[0])
    if is_label and len(words) <= MOST_WORDS and " ".join(words) not in used:
        return " ".join(words)
    return _fresh(_telling(words), used)


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
    """Without empty words and single letters, unless nothing else is there."""
    return [word for word in words if word.lower() not in EMPTY and not _LETTER.fullmatch(word)] or words


def _head(part: str) -> str:
    """The word that stands for a part among others: a short label's noun, else its first telling word."""
    words, is_label = _leading(part)
    cut = next((place for place, word in enumerate(words) if place and word.lower() in _PREPOSITIONS), len(words))
    telling = _telling(words[:cut])
    if not telling:
        return ""
    return telling[-1] if is_label and len(telling) <= MOST_WORDS else telling[0]


def _fresh(words: list[str], used: Collection[str]) -> str:
    """The first three words in a row that are not used yet; the first three if all are."""
    topics = [" ".join(words[start : start + MOST_WORDS]) for start in range(max(1, len(words) - MOST_WORDS + 1))]
    return next((topic for topic in topics if topic not in used), topics[0])
