"""Checks an answer fact by fact, by rules that can be explained and that accept other correct wordings.

A fact (country, attribute, value) is right when, in the sentences about it,

1. the value stands there as a whole word or phrase, case-sensitive, and not as a piece of a longer name or value of the
   table ("Guinea" in "Papua New Guinea", "Bissau" in "Guinea-Bissau", "+1" in "+1 876");
2. no other value of that attribute stands there (two capitals, left and right); and
3. none of them is negated ("not Nairobi").

A sentence speaks of an attribute when it has one of the CUES. It speaks of a country when it names that country and, in
a comparison, not the other one too; where only one country is asked for, a sentence that names no country counts too.

A verdict is right when (1) the answer says yes or no as it should and not both, or is as clear by its wording, and the
sentences that name both countries, or none and say yes or no, (2) hold both values and no other, (3) differing ones in
the order of the countries; where none is named, in the order asked.

Limits: values that the table does not know are not noticed beside the right one ("Mombasa, near Nairobi"); a correct
answer that puts the facts of two countries in one sentence, or that uses none of the cues, is not recognized.
"""

import re
from dataclasses import dataclass
from functools import lru_cache

from .countries import ATTRIBUTES, load_countries
from .generator import FactsQuestion, Statement

CUES = {
    "capital": r"capital",
    "continent": r"continent|part of the world|\blies?\b|located|situated|belongs?\b",
    "currency": r"currenc|money|\bpay|tender|\bspend|\bcash",
    "language": r"language|\bspeak|spoken|tongue",
    # "The language is called Spanish" is no claim about the demonym of Argentina.
    "demonym": r"^(?!.*(?:language|speak|spoken|tongue)).*(?:demonym|described|nationality|\bcalled|known as|referred)",
    "driving_side": r"driv|side of the road|traffic|\bcars\b",
    "calling_code": r"\bcall|\bdial|phon",
    "internet_domain": r"domain|internet|\bweb",
}

# Names outside the table: a sentence about such a name says nothing about the country that was asked for.
OTHER_NAMES = frozenset(
    {
        "Afghanistan",
        "American Samoa",
        "Belarus",
        "Belgium",
        "Bolivia",
        "Bosnia and Herzegovina",
        "Botswana",
        "Burkina Faso",
        "Cameroon",
        "Chad",
        "Cyprus",
        "Djibouti",
        "Equatorial Guinea",
        "Eswatini",
        "Fiji",
        "Israel",
        "Ivory Coast",
        "Kosovo",
        "Liechtenstein",
        "Malawi",
        "Mali",
        "Mauritius",
        "Monaco",
        "Montenegro",
        "Nauru",
        "Netherlands Antilles",
        "New Zealand",
        "Palestine",
        "Paraguay",
        "San Marino",
        "Singapore",
        "Solomon Islands",
        "South Africa",
        "Sri Lanka",
        "Switzerland",
        "Taiwan",
        "Vatican City",
        "Western Sahara",
        "Zimbabwe",
    }
)

_SENTENCE_END = re.compile(r"(?<!\bSt\.)(?<!\bD\.C\.)(?<=[.!?])\s+|\n+")
_NEGATION = re.compile(r"\b(?:not|never|neither|nor|no longer)\b|n't\b", re.IGNORECASE)
_YES_OR_NO = re.compile(r"\b(yes|no)\b", re.IGNORECASE)
_SAME = re.compile(r"\b(?:same|shares?|both)\b", re.IGNORECASE)
_DIFFERENT = re.compile(r"\b(?:different|differs?|whereas|unlike|not)\b|n't\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class FactScore:
    """How many facts of an answer are right. A comparison has three: two facts and the verdict."""

    right: int
    total: int
    exact: bool  # the whole text is the canonical answer
    wrong_topics: tuple[str, ...]

    @property
    def complete(self) -> bool:
        """Return whether every fact is right."""
        return self.right == self.total


@dataclass(frozen=True, slots=True)
class Sentence:
    """A sentence, and the names and values of the table `found` in it: in order, each the longest at its place."""

    text: str
    found: tuple[str, ...]

    @property
    def countries(self) -> frozenset[str]:
        """Return the names of countries in the sentence."""
        return frozenset(self.found) & _names()

    def values(self, attribute: str) -> list[str]:
        """Return the values of an attribute, in the order of their first occurrence."""
        return [word for word in dict.fromkeys(self.found) if word in _values()[attribute]]


def facts_right(question: FactsQuestion, text: str) -> FactScore:
    """Score the text of an answer (without plan or tags) against the facts of the question."""
    sentences = read_sentences(text)
    asked = frozenset(name for statement in question.statements for name in statement.countries)
    wrong = tuple(statement.topic for statement in question.statements if not _is_right(statement, asked, sentences))
    total = len(question.statements)
    return FactScore(total - len(wrong), total, text.strip() == question.answer, wrong)


def read_sentences(text: str) -> list[Sentence]:
    """Split a text into sentences, with the names and values of the table in each."""
    pieces = [piece for piece in _SENTENCE_END.split(text) if piece and piece.strip()]
    return [Sentence(piece, tuple(_lexicon().findall(piece))) for piece in pieces]


def _is_right(statement: Statement, asked: frozenset[str], sentences: list[Sentence]) -> bool:
    if len(statement.countries) == 2:
        return _verdict_is_right(statement, sentences)
    return _fact_is_right(statement, asked, sentences)


def _fact_is_right(statement: Statement, asked: frozenset[str], sentences: list[Sentence]) -> bool:
    own = frozenset(statement.countries)
    cue = re.compile(CUES[statement.attribute], re.IGNORECASE)
    relevant = [s for s in sentences if cue.search(s.text) and _speaks_of(s, own, asked)]
    relevant = [s for s in relevant if s.values(statement.attribute)]
    claimed = {value for s in relevant for value in s.values(statement.attribute)}
    return claimed == set(statement.values) and not any(_NEGATION.search(s.text) for s in relevant)


def _speaks_of(sentence: Sentence, own: frozenset[str], asked: frozenset[str]) -> bool:
    """Return whether a sentence is about the one country in `own`, among the countries asked for."""
    if len(asked) == 1 and not sentence.countries:
        return True
    return sentence.countries & asked == own


def _verdict_is_right(statement: Statement, sentences: list[Sentence]) -> bool:
    relevant = [s for s in sentences if _compares(s, statement)]
    if not relevant:
        return False
    same = statement.values[0] == statement.values[1]
    if _says_same(sentences, relevant) != same:
        return False
    holding = [s for s in relevant if s.values(statement.attribute)]
    claimed = {value for s in holding for value in s.values(statement.attribute)}
    return claimed == set(statement.values) and (same or all(_in_order(statement, s) for s in holding))


def _compares(sentence: Sentence, statement: Statement) -> bool:
    """Return whether a sentence is about both countries, or names none but answers yes or no and gives values."""
    if sentence.countries:
        return sentence.countries >= set(statement.countries)
    return bool(_YES_OR_NO.search(sentence.text) and sentence.values(statement.attribute))


def _says_same(sentences: list[Sentence], relevant: list[Sentence]) -> bool | None:
    """Return whether the answer says "the same": by yes or no, else by its relevant sentences; None when unclear."""
    answers = {word.lower() for s in sentences for word in _YES_OR_NO.findall(s.text)}
    if answers:
        return answers == {"yes"} if len(answers) == 1 else None
    text = " ".join(s.text for s in relevant)
    if _DIFFERENT.search(text):
        return False
    return True if _SAME.search(text) else None


def _in_order(statement: Statement, sentence: Sentence) -> bool:
    """Return whether the values come in the same order as their countries."""
    first = [name for name in dict.fromkeys(sentence.found) if name in statement.countries]
    values = dict(zip(statement.countries, statement.values, strict=True))
    if not first:
        first = statement.countries
    return sentence.values(statement.attribute) == [values[name] for name in first]


@lru_cache(maxsize=1)
def _names() -> frozenset[str]:
    return OTHER_NAMES.union(country.name for country in load_countries())


@lru_cache(maxsize=1)
def _values() -> dict[str, frozenset[str]]:
    return {attribute: frozenset(country.value(attribute) for country in load_countries()) for attribute in ATTRIBUTES}


@lru_cache(maxsize=1)
def _lexicon() -> re.Pattern[str]:
    """Return the pattern of all names and values, longest first, bounded by characters that belong to no word.

    A calling code is also bounded by digits after a space, so that "+1" is not found in "+1 345".
    """
    words = _names().union(*_values().values())
    longest_first = sorted(words, key=lambda word: (-len(word), word))
    bounded = (re.escape(word) + (r"(?![ -]?\d)" if word.startswith("+") else "") for word in longest_first)
    return re.compile(rf"(?<!\w)(?:{'|'.join(bounded)})(?!\w)")
