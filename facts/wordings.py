"""How prompts name an attribute, and how they string several together.

NOUNS       fit after "the", "its", "Kenya's", and alone
CLAUSES     indirect questions with "its" or "there"; the country is named elsewhere in the prompt
QUESTIONS   direct questions that name the country: {the} with article ("the Netherlands"), {poss} with apostrophe
FOLLOW_UPS  direct questions after the first, lower case, no question mark; the country is already named
SAMENESS    wordings of comparisons, see Sameness
"""

from collections.abc import Callable
from dataclasses import dataclass

NOUNS = {
    "capital": ("capital", "capital city", "national capital"),
    "continent": ("continent", "home continent"),
    "currency": ("currency", "money", "national currency", "official currency"),
    "language": ("main language", "language", "principal language"),
    "demonym": ("demonym", "nationality word", "nationality adjective"),
    "driving_side": ("driving side", "side of the road for driving", "traffic side"),
    "calling_code": ("calling code", "phone code", "country calling code", "international dialling code"),
    "internet_domain": ("internet domain", "top-level domain", "web domain", "web address ending"),
}

CLAUSES = {
    "capital": ("what its capital is", "which city is its capital", "the name of its capital city"),
    "continent": ("which continent it is on", "what part of the world it lies in", "the continent it belongs to"),
    "currency": ("which currency it uses", "what people pay with there", "what its money is called"),
    "language": ("what its main language is", "which language is mainly used there", "the main language there"),
    "demonym": ("what people from there are called", "the word for people from there", "what its demonym is"),
    "driving_side": (
        "which side of the road people drive on",
        "whether cars keep left or right there",
        "the side of the road people drive on",
    ),
    "calling_code": ("what its calling code is", "which code to dial before a number there", "its phone code"),
    "internet_domain": ("what its internet domain is", "how web addresses there end", "its top-level domain"),
}

QUESTIONS = {
    "capital": (
        "What is the capital of {the}?",
        "Which city is the capital of {the}?",
        "What is {poss} capital city?",
        "What do you call the capital of {the}?",
    ),
    "continent": (
        "Which continent is {the} on?",
        "On which continent does {the} lie?",
        "What part of the world is {the} in?",
        "To which continent does {the} belong?",
    ),
    "currency": (
        "Which currency does {the} use?",
        "What is the currency of {the}?",
        "What do people in {the} pay with?",
        "What is {poss} money called?",
    ),
    "language": (
        "What is the main language of {the}?",
        "Which language is mainly used in {the}?",
        "What is {poss} principal language?",
        "Which main language do people use in {the}?",
    ),
    "demonym": (
        "What is the demonym for {the}?",
        "What are people from {the} called?",
        "Which word describes someone from {the}?",
        "How do you describe something that comes from {the}?",
    ),
    "driving_side": (
        "On which side of the road do people drive in {the}?",
        "Do cars keep left or right in {the}?",
        "Which side of the road is used for driving in {the}?",
        "What is the driving side in {the}?",
    ),
    "calling_code": (
        "What is the calling code of {the}?",
        "Which code do I dial to phone {the}?",
        "What is {poss} phone code?",
        "What is the international dialling code for {the}?",
    ),
    "internet_domain": (
        "What is the internet domain of {the}?",
        "Which top-level domain belongs to {the}?",
        "What is {poss} web domain?",
        "How do web addresses in {the} end?",
    ),
}

FOLLOW_UPS = {
    "capital": ("what is its capital", "which city is its capital"),
    "continent": ("which continent is it on", "what part of the world is it in"),
    "currency": ("which currency does it use", "what do people pay with there"),
    "language": ("what is its main language", "which language is mainly used there"),
    "demonym": ("what are people from there called", "which word describes someone from there"),
    "driving_side": ("on which side of the road do people drive", "do cars keep left or right"),
    "calling_code": ("what is its calling code", "which code do I dial to phone it"),
    "internet_domain": ("what is its internet domain", "how do web addresses there end"),
}


@dataclass(frozen=True, slots=True)
class Sameness:
    """The wordings of one attribute in comparisons: "the same {noun}", "the {nouns} of", "do they {plural}"."""

    noun: tuple[str, ...]
    nouns: tuple[str, ...]
    plural: tuple[str, ...]


SAMENESS = {
    "continent": Sameness(
        ("continent", "home continent"),
        ("continents", "home continents"),
        ("lie on the same continent", "belong to the same continent", "sit on the same continent"),
    ),
    "currency": Sameness(
        ("currency", "money", "national currency"),
        ("currencies", "national currencies"),
        ("use the same currency", "have the same money", "pay with the same currency"),
    ),
    "language": Sameness(
        ("main language", "principal language"),
        ("main languages", "languages"),
        ("use the same main language", "have the same main language", "speak the same main language"),
    ),
    "driving_side": Sameness(
        ("driving side", "side of the road for driving"),
        ("driving sides", "sides of the road for driving"),
        ("drive on the same side", "drive on the same side of the road", "keep to the same side of the road"),
    ),
}


Style = Callable[[list[str]], str]  # joins two items or more, in their order


def _first_then(items: list[str]) -> str:
    return ", then ".join([f"first {items[0]}", *items[1:]])


def _numbered(items: list[str]) -> str:
    return " ".join(f"({number}) {item}" for number, item in enumerate(items, start=1))


def _with_last(word: str, comma: str = "") -> Style:
    """Return a style with commas between items and `word` before the last, after `comma` if there are three or more."""
    return lambda items: f"{', '.join(items[:-1])}{comma if len(items) > 2 else ''}{word}{items[-1]}"


# PROSE reads well everywhere; LISTED only after a colon.
OXFORD = _with_last(" and ", comma=",")
PROSE = (
    OXFORD,
    _with_last(" and "),
    _with_last(" plus ", comma=","),
    _with_last(" as well as "),
    " and ".join,
)
LISTED = ("; ".join, _numbered, _first_then)
KEYWORDS = (", ".join, " / ".join, " + ".join, "; ".join, " & ".join, _with_last(" and "))
