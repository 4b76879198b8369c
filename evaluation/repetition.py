"""Repetition in a text, by its word 3-grams: within its parts, and between them.

A word is a run of letters, digits and apostrophes, in lower case. A text of one or two words counts as one n-gram.

    within    of the n-grams of all parts, the share that stands earlier in the same part
    between   of the distinct n-grams of all parts, each part's own, the share that another part before it has already
    overlap   of two parts: their common n-grams over those of the part that has fewer, distinct ones
    twins     parts whose overlap with some other part is above 0.5

Shares are pairs (x of, y).
"""

import re
from collections.abc import Sequence

WORD = re.compile(r"\w+(?:['’]\w+)*")
LENGTH = 3  # words of an n-gram
TWINS = 0.5

Share = tuple[int, int]


def word_ngrams(text: str) -> list[tuple[str, ...]]:
    """Return the word 3-grams of a text in order."""
    words = WORD.findall(text.casefold())
    if 0 < len(words) < LENGTH:
        return [tuple(words)]
    return [tuple(words[start : start + LENGTH]) for start in range(len(words) - LENGTH + 1)]


def repeated_within(parts: Sequence[str]) -> Share:
    """Return how many n-grams stand earlier in their own part, and the number of n-grams."""
    grams = [word_ngrams(part) for part in parts]
    total = sum(map(len, grams))
    return total - sum(len(set(each)) for each in grams), total


def repeated_between(parts: Sequence[str]) -> Share:
    """Return how many distinct n-grams of parts an earlier part has already, and the number of them."""
    grams = [set(word_ngrams(part)) for part in parts]
    total = sum(map(len, grams))
    return total - len(set[tuple[str, ...]]().union(*grams)), total


def overlap(one: str, other: str) -> float:
    """Return the share of the n-grams of the part with fewer of them that the other has too; 0 without words."""
    grams, others = set(word_ngrams(one)), set(word_ngrams(other))
    fewer = min(len(grams), len(others))
    return len(grams & others) / fewer if fewer else 0.0


def twins(parts: Sequence[str]) -> Share:
    """Return how many parts say what some other part says, and the number of parts."""
    found = sum(
        any(overlap(part, other) > TWINS for place, other in enumerate(parts) if place != index)
        for index, part in enumerate(parts)
    )
    return found, len(parts)
