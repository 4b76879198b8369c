"""Topics of one to three words, taken from the text that they announce."""

import re
from collections.abc import Collection, Sequence
from itertools import chain, count

from .words import EMPTY, NUMBERS

MOST_WORDS = 3
LONGEST_WORD = 24  # characters
_LONGEST_UNSPACED = 8  # of scripts that write no spaces between words
_FIRST_UNSPACED = "\u2e80"  # Chinese, Japanese and the scripts behind them in Unicode
_READ = 240  # characters of a passage
_LETTER = re.compile(r"[^\W\d_]")
_BARE = re.compile(r"[a-zA-Z]|\d+")
_PREPOSITIONS = frozenset(("of", "for", "in", "with", "to", "from", "on", "at", "by", "and", "or"))

# The marker before the words of a passage: "## ", "- ", "(2) ", "b. ", "iv) ", "Step 3: ", and bold signs or quotes.
_MARKER = re.compile(
    r"\s*(?:#{1,6}\s|[-*+\u2022\u2023\u25aa\u25cf\u25cb\u00b7\u2013\u2014]\s|\(?(?:\d{1,3}|[a-zA-Z]|[ivxIVX]{1,4})[.):]\s*|"
    r"(?:step|day|week|month|phase|stage|tip|reason|option|idea|point)\s+\d{1,2}\s*[:.)-]\s*)?[\s*_\"'`]*",
    re.IGNORECASE,
)
# A label: "Fresh air" before ":", "**", " - ", or the end of its line.
_LABEL = re.compile(r"[^\n.!?:]{2,60}?(?=:|\*\*|\s[-\u2013\u2014]\s|\s*\n|\s*$)")
_WORD = re.compile(r"[^\W_]+(?:['\u2019-][^\W_]+)*")


def topic_of(passages: Sequence[str], used: Collection[str] = ()) -> str:
    """Return an unused topic for a span of one or more passages; "" for a text without words.

    In order of preference: a short label, the words that stand for the passages, further words of the span, and the
    first words with a number word behind them.

    Args:
        used: topics that must not come again, in small letters.
    """
    if len(passages) > 1:
        heads = dict.fromkeys(_head(passage) for passage in passages)
        words = [word for word in heads if _LETTER.search(word)]
    else:
        label, is_label = _leading(passages[0])
        topic = " ".join(label)
        if is_label and len(label) <= MOST_WORDS and _LETTER.search(topic) and topic.lower() not in used:
            return topic
        words = [] if is_label and len(label) <= MOST_WORDS else _telling(label)
    telling = _telling(_beginnings(passages))
    return _fresh(words, used) or _fresh(telling, used) or _numbered(words or telling, used)


def _after_marker(passage: str) -> int:
    """Return where the words of a passage begin."""
    marker = _MARKER.match(passage)
    assert marker is not None  # the pattern matches an empty text too
    return marker.end()


def _leading(passage: str) -> tuple[list[str], bool]:
    """Return the words of a passage's label, or else of its beginning, and whether it is a label."""
    start = _after_marker(passage)
    label = _LABEL.match(passage, start)
    if label and (words := _words(label[0])) and len(words) <= 2 * MOST_WORDS:
        return words, True
    return _words(passage[start : start + _READ]), False


def _words(text: str) -> list[str]:
    """Return the words of a text, cut at a greatest length."""
    return [word[: LONGEST_WORD if word[0] < _FIRST_UNSPACED else _LONGEST_UNSPACED] for word in _WORD.findall(text)]


def _telling(words: list[str]) -> list[str]:
    """Return the words that tell something about a topic: no empty words, numbers and single letters.

    Where no word does, all are returned, since a topic of empty words ("Is it") is better than none.
    """
    return [word for word in words if word.lower() not in EMPTY and not _BARE.fullmatch(word)] or words


def _head(passage: str) -> str:
    """Return the word that stands for a passage among others: a short label's last telling word, else the first one."""
    words, is_label = _leading(passage)
    cut = next((place for place, word in enumerate(words) if place and word.lower() in _PREPOSITIONS), len(words))
    telling = _telling(words[:cut])
    if not telling:
        return ""
    return telling[-1] if is_label and len(telling) <= MOST_WORDS else telling[0]


def _beginnings(passages: Sequence[str]) -> list[str]:
    """Return the words at the beginning of each passage."""
    starts = map(_after_marker, passages)
    return [
        word for passage, start in zip(passages, starts, strict=True) for word in _words(passage[start : start + _READ])
    ]


def _fresh(words: list[str], used: Collection[str]) -> str:
    """Return the first three words in a row that are not used yet; "" if all are."""
    starts = range(max(1, len(words) - MOST_WORDS + 1))
    topics = (" ".join(words[start : start + MOST_WORDS]) for start in starts)
    return next((topic for topic in topics if topic.lower() not in used), "")


def _numbered(words: list[str], used: Collection[str]) -> str:
    """Return the first two words with the first number that makes the topic unused."""
    if not words:
        return ""
    topics = (" ".join((*words[: MOST_WORDS - 1], number)) for number in chain(NUMBERS, map(str, count(2))))
    return next(topic for topic in topics if topic.lower() not in used)
