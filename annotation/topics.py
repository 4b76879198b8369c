"""Topics of the parts of an answer: one short word each that tells it from the others, two where one does not.

The words of a part are those of its label ("Fresh air" in "1. **Fresh air**: open ...") and then of its beginning. Its
topic is, in order of preference,

    1. an aspect that the request asks for ("its look and history"), where most parts have one of their own
    2. a telling word that no other part has; adjectives, verbs and words such as "benefits" after the others
    3. a telling word that is no topic yet
    4. two words, and last of all a word and a number word

A part of several passages is called by its first one where it can. "Day 1" stays what it is. The order is English; in
other languages the topic is an unused word of the label or beginning.
"""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from itertools import chain, count, pairwise

from .heads import Head, head_of, is_weak, stem, telling
from .words import NUMBERS

INTRODUCTION, CLOSING = "introduction", "closing"  # topics of preambles and closings
LEAST_ASKED = 0.5  # of the parts: so many have an aspect that the request asks for, where it asks for aspects
_LEAD = 4  # words of a beginning in which an aspect is looked for


@dataclass(frozen=True)
class Part:
    """The text of a span, the passages in it, and the topic of a text without passages, as a preamble."""

    text: str
    passages: tuple[str, ...] = ()
    topic: str = ""


def topics_of(parts: Sequence[Part], prompt: str = "") -> list[str]:
    """Return a topic for each part, all different in small letters; "" for a part without words."""
    heads = [[head_of(passage) for passage in part.passages] for part in parts]
    ranking = _Ranking(heads, prompt)
    topics, used = [], set[str]()
    for part, of_part in zip(parts, heads, strict=True):
        topic = _topic(of_part, ranking, used) if of_part else _numbered([part.topic], used)
        topics.append(topic)
        used.add(topic.lower())
    return topics


def _topic(heads: Sequence[Head], ranking: "_Ranking", used: Collection[str]) -> str:
    """Return the topic of a part that has such heads of its passages."""
    if heads[0].period:
        return _numbered([heads[0].period], used)
    words = list(dict.fromkeys(chain.from_iterable(map(ranking.ordered, heads))))
    return _fresh(words, used) or _fresh(map(" ".join, pairwise(words)), used) or _numbered(words, used)


def _fresh(topics: Iterable[str], used: Collection[str]) -> str:
    """Return the first topic that is not used yet; "" if all are."""
    return next((topic for topic in topics if topic.lower() not in used), "")


def _numbered(words: Sequence[str], used: Collection[str]) -> str:
    """Return the first word, with the first number word behind it that makes it unused; "" without words."""
    if not words:
        return ""
    return _fresh(chain(words[:1], (f"{words[0]} {number}" for number in chain(NUMBERS, map(str, count(2))))), used)


class _Ranking:
    """Ranks the words of the parts of one answer by the parts that have them, and by what the request asks for.

    Attributes:
        asked: the stems of the request's words.
        in_names: stem -> the parts that have it in a label, or in a beginning without label; in_texts: in either.
        aspects: the stems that the request asks for and one part each begins with.
    """

    def __init__(self, heads: Sequence[Sequence[Head]], prompt: str) -> None:
        parts = [part for part in heads if part]
        self.asked = set(map(stem, telling(prompt)))
        self.in_names = _owners(_stems(part, lambda head: head.label or head.beginning) for part in parts)
        self.in_texts = _owners(_stems(part, lambda head: (*head.label, *head.beginning)) for part in parts)
        self.aspects = _own_words([self.asked & _stems(part, _lead) for part in parts])

    def ordered(self, head: Head) -> list[str]:
        """Return the words of a passage, the best topic first; words of one rank stay in their order."""
        ranked = [(self._rank_in_label(word), word) for word in head.label]
        ranked += [(self._rank_in_beginning(word, bool(head.label)), word) for word in head.beginning]
        return [word for _, word in sorted(ranked, key=lambda pair: pair[0])]

    def _rank_in_label(self, word: str) -> int:
        """Return the rank of a label's word; the smallest is the best topic."""
        root = stem(word)
        if self.in_names[root] > 1:
            return 7 + is_weak(word)
        return 0 if root in self.aspects else 1 + (is_weak(word) or root in self.asked)

    def _rank_in_beginning(self, word: str, is_labelled: bool) -> int:
        """Return the rank of a beginning's word, whose passage may have a label too."""
        root = stem(word)
        if root in self.aspects and not is_labelled:
            return 0
        if (self.in_texts if is_labelled else self.in_names)[root] > 1:
            return 9 + is_weak(word)
        return 3 + is_weak(word) + 2 * (root in self.asked)


def _lead(head: Head) -> Sequence[str]:
    """Return the words by which a passage is known to be about an aspect."""
    return head.label or head.beginning[:_LEAD]


def _stems(part: Sequence[Head], words_of: Callable[[Head], Sequence[str]]) -> set[str]:
    """Return the stems of words of a part's passages."""
    return {stem(word) for head in part for word in words_of(head)}


def _owners(parts: Iterable[set[str]]) -> Counter[str]:
    """Return stem -> the number of parts that have it."""
    return Counter(chain.from_iterable(parts))


def _own_words(parts: Sequence[set[str]]) -> set[str]:
    """Return the words that are the only one of just one part; none where too few parts have such a word.

    Words of more than half of the parts are the subject of all and do not count.
    """
    owners = _owners(parts)
    rest = [{word for word in words if owners[word] <= len(parts) / 2} for words in parts]
    single = Counter(word for words in rest if len(words) == 1 for word in words)
    own = {word for word, count_ in single.items() if count_ == 1}
    return own if len(own) > 1 and len(own) >= LEAST_ASKED * len(parts) else set()
