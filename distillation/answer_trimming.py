"""Ends an answer where it begins to repeat itself, or behind the last whole sentence before its token limit.

A small model says the same again and again once it has begun to; what stands before is its own answer all the same.
"""

import re

from .answer_assembly import SENTENCE_END, WHOLE_SENTENCE
from .answer_filters import words_of

LEAST_WORDS = 20  # of what is left
MOST_KNOWN = 0.5  # share of a sentence's word 3-grams that stood in the answer before it
MARK_ALONE = re.compile(r"^\s*(?:\d+[.)]|[-*•#]+)?\s*$")


def trimmed(answer: str, ended: str) -> str | None:
    """Return the answer up to its first repetition; None where too little is left, or nothing has to go.

    Args:
        ended: why the answer ended; behind "length" its last sentence counts only if it is whole.
    """
    kept: list[str] = []
    known: set[tuple[str, ...]] = set()
    pieces = sentences_of(answer.strip())
    for index, piece in enumerate(pieces):
        triples = _triples(piece)
        is_last = ended == "length" and index == len(pieces) - 1
        if (is_last and _is_torn(piece)) or (triples and len(triples & known) > MOST_KNOWN * len(triples)):
            break
        known |= triples
        kept.append(piece)
    if len(kept) == len(pieces):
        return None
    while kept and MARK_ALONE.match(kept[-1]):
        kept.pop()
    text = "".join(kept).strip()
    return text if len(words_of(text)) >= LEAST_WORDS and text[-1] != ":" else None


def sentences_of(text: str) -> list[str]:
    """Return the sentences of a text, each with the white space before it; a line ends one too."""
    pieces = []
    for line in re.findall(r"\s*[^\n]+", text):
        ends = [match.start() for match in SENTENCE_END.finditer(line)]
        pieces += [line[start:end] for start, end in zip([0, *ends], [*ends, len(line)], strict=True)]
    return pieces


def _is_torn(piece: str) -> bool:
    return MARK_ALONE.match(piece) is not None or not WHOLE_SENTENCE.search(piece.strip())


def _triples(text: str) -> set[tuple[str, ...]]:
    words = words_of(text)
    return set(zip(words, words[1:], words[2:], strict=False)) or ({tuple(words)} if words else set())
