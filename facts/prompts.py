"""Fills frames: a phrasing, countries and attributes become the text of a prompt.

Every prompt names the attributes in the order in which they were given. All choices come from the `random.Random` that
the caller passes in.
"""

from random import Random

from . import wordings
from .countries import Country
from .frames import Frame

OPENINGS = ("Hi! ", "Hello! ", "Hi there. ", "Good morning. ", "Excuse me. ", "Hey! ")
CLOSINGS = (
    " Thanks.",
    " Thank you!",
    " Please use full sentences.",
    " Thanks in advance.",
    " One sentence for each, please.",
)

CHANCE_OF_OPENING = 0.15
CHANCE_OF_CLOSING = 0.12
CHANCE_OF_NO_FINAL_MARK = 0.10
CHANCE_OF_LOWER_CASE = 0.08
CHANCE_OF_LOWER_KEYWORDS = 0.5


def fact_prompt(frame: Frame, country: Country, attributes: tuple[str, ...], rng: Random) -> str:
    """Return a prompt that asks for one attribute or more of a country, in that order."""
    text = frame.text.format(
        the=country.the_name,
        name=country.name,
        poss=_possessive(country.the_name),
        are="are" if len(attributes) > 1 else "is",
        list=_attribute_list(frame, country, attributes, rng),
    )
    return _surface(text, frame, rng)


def comparison_prompt(frame: Frame, a: Country, b: Country, attribute: str, rng: Random) -> str:
    """Return a prompt that asks whether two countries, named in that order, agree in one of COMPARABLE."""
    sameness = wordings.SAMENESS[attribute]
    text = frame.text.format(
        a=a.the_name,
        b=b.the_name,
        noun=rng.choice(sameness.noun),
        nouns=rng.choice(sameness.nouns),
        plural=rng.choice(sameness.plural),
    )
    return _surface(text, frame, rng)


def _attribute_list(frame: Frame, country: Country, attributes: tuple[str, ...], rng: Random) -> str:
    if frame.form == "question":
        return _questions(country, attributes, rng)
    phrases = wordings.CLAUSES if frame.form == "clause" else wordings.NOUNS
    article = "the " if frame.form == "the" else ""
    items = [article + rng.choice(phrases[attribute]) for attribute in attributes]
    return items[0] if len(items) == 1 else rng.choice(_styles(frame))(items)


def _styles(frame: Frame) -> tuple[wordings.Style, ...]:
    """Return the ways to join several attributes that suit a frame."""
    if frame.form == "keyword":
        return wordings.KEYWORDS
    return wordings.PROSE + wordings.LISTED if ": {list}" in frame.text else wordings.PROSE


def _questions(country: Country, attributes: tuple[str, ...], rng: Random) -> str:
    """Return a question that names the country, followed by one for each further attribute."""
    poss = _possessive(country.the_name)
    first = rng.choice(wordings.QUESTIONS[attributes[0]]).format(the=country.the_name, poss=poss)
    follow_ups = [rng.choice(wordings.FOLLOW_UPS[attribute]) for attribute in attributes[1:]]
    if not follow_ups:
        return first
    style = rng.choice(("sentences", "and sentences", "one sentence"))
    if style == "one sentence":
        return f"{wordings.OXFORD([first.removesuffix('?'), *follow_ups])}?"
    lead = "and " if style == "and sentences" else ""
    return " ".join([first, *(f"{_capitalized(lead + question)}?" for question in follow_ups)])


def _surface(text: str, frame: Frame, rng: Random) -> str:
    """Vary greeting, thanks, final mark and case, as people do without thinking."""
    keyword = frame.form == "keyword"
    if not keyword or rng.random() >= CHANCE_OF_LOWER_KEYWORDS:
        text = _capitalized(text)
    if not keyword and rng.random() < CHANCE_OF_OPENING:
        text = rng.choice(OPENINGS) + text
    if text[-1] in ".?!" and rng.random() < CHANCE_OF_CLOSING:
        text += rng.choice(CLOSINGS)
    elif rng.random() < CHANCE_OF_NO_FINAL_MARK:
        text = text.rstrip(".?!")
    return text.lower() if rng.random() < CHANCE_OF_LOWER_CASE else text


def _capitalized(text: str) -> str:
    return text[0].upper() + text[1:]


def _possessive(name: str) -> str:
    return f"{name}'" if name.endswith("s") else f"{name}'s"
