"""The head of a passage: the words that may stand for it, of its label and of its beginning, markers left out."""

import re
from dataclasses import dataclass

from .words import EMPTY, ORDERS, WEAK

LONGEST_LABEL = 6  # words
LONGEST_WORD = 24  # characters
LONGEST_TELLING = 9  # letters: a longer word takes many tokens
_LONGEST_UNSPACED = 8  # of scripts that write no spaces between words
_FIRST_UNSPACED = "\u2e80"  # Chinese, Japanese and the scripts behind them in Unicode
_READ = 240  # characters of a passage
_BARE = re.compile(r"[a-zA-Z]|\d+")
_SIGNS = r"[\s*_\"'`\u201c\u2018]*"
_PREPOSITIONS = frozenset(("of", "for", "in", "with", "to", "from", "on", "at", "by", "and", "or", "as", "about"))
_TIMES = frozenset(("before", "during", "after"))  # empty words that are the information of a label: "Before bed"

# A part of time, which is the information of its marker: "Day 1: ", "**Week two** - ".
_PERIOD = re.compile(
    rf"{_SIGNS}(?:[#-]+\s)?{_SIGNS}((?:day|week|month|year|hour|night)[ \t]+(?:\d{{1,2}}|[a-z]{{3,5}}))[*_ \t]*"
    r"(?:[:.,)(\u2013\u2014\n-]|$)",
    re.IGNORECASE,
)
# The markers before the words of a passage: "## ", "- ", "**(2) ", "b. ", "iv) ", "Step 3: ".
_MARKER = re.compile(
    rf"(?:{_SIGNS}(?:#{{1,6}}\s|[-+\u2022\u2023\u25aa\u25cf\u25cb\u00b7\u2013\u2014]\s|"
    r"\(?(?:\d{1,3}|[a-zA-Z]|[ivxIVX]{1,4})[.):](?!\d)|(?:no\.?|[a-z]+)\s+#?\d{1,2}\s*[:.)\u2013-](?!\d)))*" + _SIGNS,
    re.IGNORECASE,
)
# A label: "Fresh air" before ":", "**", " - ", or the end of its line.
_LABEL = re.compile(r"[^\n.!?:]{2,60}?(?=:|\*\*|\s[-\u2013\u2014]\s|\s*\n|\s*$)")
_WORD = re.compile(r"[^\W_]+(?:['\u2019-][^\W_]+)*")
_WEAK_ENDING = re.compile(r"\w{2,}(?:ly|ing|ed|ous|ful|ive|able|ible|al|ic|less)", re.IGNORECASE)
_SHORTEST_ENDED = 6  # letters: "bed" and "music" end as verbs and adjectives do, and are none


@dataclass(frozen=True, slots=True)
class Head:
    """The words of a passage that may be its topic, the likeliest first.

    label: of its label, where it has one; beginning: of the text behind it.
    period: the part of time that the passage is headed with ("Day 1").
    """

    label: tuple[str, ...]
    beginning: tuple[str, ...]
    period: str = ""


def head_of(passage: str) -> Head:
    """Return the head of a passage."""
    period, marker = _PERIOD.match(passage), _MARKER.match(passage)
    assert marker is not None  # the pattern matches an empty text too
    start = marker.end()
    found = _LABEL.match(passage, start)
    label = _words(found[0]) if found else []
    if found and label and len(label) <= LONGEST_LABEL:
        start = found.end()
    else:
        label = []
    words = _words(passage[start : start + _READ])
    beginning = _telling(words)
    if beginning[:1] == words[:1] and words and words[0].lower() in ORDERS:  # "Drink a glass of water"
        beginning = [*beginning[1:], beginning[0]]
    return Head(_of_label(label), tuple(dict.fromkeys(beginning)), period[1] if period else "")


def _of_label(words: list[str]) -> tuple[str, ...]:
    """Return the words of a label, from the last one before a preposition on: "Fresh air" is about air."""
    if not words:
        return ()
    cut = next((place for place, word in enumerate(words) if place and word.lower() in _PREPOSITIONS), len(words))
    times = [word for word in words[:1] if word.lower() in _TIMES]
    return tuple(dict.fromkeys((*times, *_telling(words[:cut])[::-1], *_telling(words[cut:]))))


def telling(text: str) -> list[str]:
    """Return the words of a text that tell something about its topic, in order."""
    return _telling(_words(text))


def stem(word: str) -> str:
    """Return a word in small letters, without the ending of a plural or of a possessor."""
    word = word.lower().replace("\u2019", "'").removesuffix("'s")
    if word.endswith("ies") and len(word) > 4:
        return f"{word[:-3]}y"
    return word[:-1] if word.endswith("s") and not word.endswith("ss") and len(word) > 3 else word


def is_weak(word: str) -> bool:
    """Tell whether a word makes a poor topic: long, general as "way", or with the ending of a verb or adjective."""
    lower = word.lower()
    if not WEAK.isdisjoint((lower, stem(lower))) or len(lower) > LONGEST_TELLING:
        return True
    return len(lower) >= _SHORTEST_ENDED and _WEAK_ENDING.fullmatch(lower) is not None


def _words(text: str) -> list[str]:
    """Return the words of a text, cut at a greatest length."""
    return [word[: LONGEST_WORD if word[0] < _FIRST_UNSPACED else _LONGEST_UNSPACED] for word in _WORD.findall(text)]


def _telling(words: list[str]) -> list[str]:
    """Return the words without empty ones, numbers and single letters.

    Where no word is left, all are returned, since a topic of empty words ("Is it") is better than none.
    """
    return [word for word in words if word.lower() not in EMPTY and not _BARE.fullmatch(word)] or words
