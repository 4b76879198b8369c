"""Fills a form: topics, counts, questions and numbers become the text of one prompt, and the questions for its parts.

All choices come from the `random.Random` that the caller passes in.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import Random

from ..annotation.topics import Part, topics_of
from .prompt_data import Form, PromptData

WORDS = ("zero", "one", "two", "three", "four", "five", "six")
COUNTS = (2, 3, 3, 3, 3, 4, 4, 5)  # of items with explanations, where five or six become long
BARE_COUNTS = (2, 3, 3, 4, 4, 5, 5, 6)
FEW = (2, 2, 3)  # where a form asks for the count twice, or for differences
IN_A_ROW = (2, 3, 3, 4, 4, 5)  # terms, aspects, topics
DAYS = (2, 3, 3, 4, 5)
QUESTIONS = (2, 3, 3, 3, 4, 4)
CHANCE_OF_BRIEF, CHANCE_OF_PRONOUN, CHANCE_OF_TWO_SENTENCES = 0.65, 0.6, 0.5
PRONOUNS = {"they": "they", "them": "them", "it": "it", "in_it": "there"}
ASKS_BRIEFLY = re.compile(r"\b(?:brief|briefly|concise|short|one sentence|a sentence|a line|one line|no long)\b", re.I)


@dataclass(frozen=True)
class SubPrompt:
    """The question for one part of an answer.

    topic: of the part in the plan; label: its name in the answer, "" where it has none.
    prompt: what the model is asked; sentences: how many it may answer with.
    subject: what the answer must name; "" where a word of the question is enough.
    """

    topic: str
    label: str
    prompt: str
    sentences: int
    subject: str = ""


@dataclass(frozen=True)
class Item:
    """A thing that a part is about: its label, and the question for it where the data hold one."""

    label: str
    question: str = ""


@dataclass(frozen=True)
class Filling:
    """Holds what fills a form: the topics drawn, the texts of its places, and the items that its parts are about."""

    topics: tuple[str, ...]
    places: Mapping[str, str]
    items: tuple[Item, ...] = ()


@dataclass(frozen=True)
class Filled:
    """The text of a prompt, the topics that it names, and the questions for the parts of its answer."""

    text: str
    topics: tuple[str, ...]
    parts: tuple[SubPrompt, ...]


def fill(form: Form, data: PromptData, rng: Random) -> Filled:
    """Return a form with all its places filled."""
    filling = _filling(form, data, rng)
    places = dict(filling.places)
    wish = rng.choice(data.brief) if rng.random() < CHANCE_OF_BRIEF else ""
    if form.category == "goods":
        places |= _figures(data, rng)
    if "{count}" in form.text or "{number}" in form.text:
        several = BARE_COUNTS if "{number}" in form.text else COUNTS
        count = rng.choice(FEW if form.kind in ("pros_cons", "compare") else several)
        places = {"count": WORDS[count], "number": str(count)} | places
    text = form.text.replace("\\n", "\n").format_map(places | {"brief": wish}).strip()
    return Filled(text, filling.topics, _sub_prompts(form, filling, text, data, rng))


def joined(items: Sequence[str]) -> str:
    """Return items as one phrase: `a, b and c`."""
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} and {items[-1]}"


def _sub_prompts(form: Form, filling: Filling, text: str, data: PromptData, rng: Random) -> tuple[SubPrompt, ...]:
    """Return the questions for the parts of an answer; none where it is answered as a whole."""
    asked = []
    for wording in form.wordings:
        for item in filling.items if "{item}" in wording.label or "{ask}" in wording.question else (Item(""),):
            places = {**filling.places, "item": item.label, "ask": item.question}
            label = wording.label.format_map(places)
            names_subject = wording.label.startswith("{") and "{ask}" not in wording.question
            asked.append((label, wording.question.format_map(places), label if names_subject else ""))
    if len(asked) < 2:
        return ()
    is_brief = ASKS_BRIEFLY.search(text) or len(asked) > 2 + (rng.random() < CHANCE_OF_TWO_SENTENCES)
    sentences = 1 if is_brief else 2
    names = [label or question for label, question, _ in asked]
    topics = topics_of([Part(name, (name,)) for name in names], filling.places.get("topic", ""))
    return tuple(
        SubPrompt(topic, label, f"{question} {data.endings[sentences]}", sentences, subject)
        for topic, (label, question, subject) in zip(topics, asked, strict=True)
    )


def _filling(form: Form, data: PromptData, rng: Random) -> Filling:
    """Draw the topics of a form, and fill the places that depend on them."""
    of_category = data.topics[form.category]
    if form.kind == "questions":
        return _questions(form, data, rng)
    if form.kind == "each":
        several = _some(of_category, rng, IN_A_ROW)
        return Filling(several, {"several": joined(several), "lines": _lines(several, rng)}, tuple(map(Item, several)))
    topic = rng.choice(of_category)
    if form.category in ("option", "pair"):
        left, right = topic.split(" | ")
        return Filling((topic,), {"left": left, "right": right})
    if form.category == "terms":
        field, _, words = topic.partition(": ")
        terms = _some(words.split(", "), rng, IN_A_ROW)
        places = {"field": field, "terms": joined(terms), "lines": _lines(terms, rng)}
        return Filling(terms, places, tuple(map(Item, terms)))
    places = {"topic": topic, form.category: topic}
    if form.kind == "describe" or form.asks_for_aspects:
        return _aspects(places, data.aspects[form.category], rng)
    if "{days}" in form.text:
        return _days(places, data.days[form.category], rng)
    return Filling((topic,), places)


def _aspects(places: dict[str, str], aspects: Mapping[str, str], rng: Random) -> Filling:
    """Draw aspects of a topic, in the order of the data."""
    names = list(aspects)
    drawn = sorted(_some(names, rng, IN_A_ROW), key=names.index)
    items = tuple(Item(name, aspects[name].format_map(places)) for name in drawn)
    places |= {"aspects": joined(drawn), "count": WORDS[len(items)], "number": str(len(items))}
    return Filling((places["topic"],), places, items)


def _days(places: dict[str, str], questions: Sequence[str], rng: Random) -> Filling:
    """Draw a number of days and a question for each, in the order of the data."""
    drawn = sorted(rng.sample(range(len(questions)), rng.choice(DAYS)))
    items = tuple(Item(f"Day {day}", questions[index].format_map(places)) for day, index in enumerate(drawn, start=1))
    return Filling((places["topic"],), places | {"days": WORDS[len(items)]}, items)


def _questions(form: Form, data: PromptData, rng: Random) -> Filling:
    """Draw unrelated questions, or questions about one topic, whose later mentions may be pronouns."""
    count = rng.choice(QUESTIONS)
    places: dict[str, str] = {}
    if form.category == "question":
        topics = questions = clear = tuple(rng.sample(data.topics["question"], count))
    else:
        topics = (rng.choice(data.topics[form.category]),)
        places["topic"] = topics[0]
        asked = data.asked[form.category]
        drawn = sorted(rng.sample(asked, count), key=asked.index)
        clear = tuple(question.format_map(_names(topics[0])) for question in drawn)
        questions = _with_pronouns(drawn, topics[0], "{topic}" in form.text, rng)
    places |= {"questions": " ".join(questions), "lines": _lines(questions, rng), "count": WORDS[len(questions)]}
    return Filling(topics, places, tuple(Item("", question) for question in clear))


def _names(topic: str) -> dict[str, str]:
    """Return the places of questions, all filled with the topic itself."""
    return dict.fromkeys(PRONOUNS, topic) | {"topic": topic, "in_it": f"in {topic}"}


def _with_pronouns(questions: Sequence[str], topic: str, is_named: bool, rng: Random) -> tuple[str, ...]:
    """Fill questions with their topic, or with pronouns wherever it was named before."""
    names = _names(topic)
    pronouns = names | PRONOUNS if rng.random() < CHANCE_OF_PRONOUN else names
    return tuple(
        question.format_map(pronouns if is_named or index else names) for index, question in enumerate(questions)
    )


def _figures(data: PromptData, rng: Random) -> dict[str, str]:
    """Draw people and numbers for a sum, so that nothing becomes negative and every division is exact."""
    name, other = rng.sample(data.topics["name"], 2)
    small, few = rng.randint(2, 12), rng.randint(2, 6)
    numbers = {"big": rng.randint(20, 90), "small": small, "few": few, "product": small * few}
    return {"name": name, "other": other} | {key: str(number) for key, number in numbers.items()}


def _some(items: Sequence[str], rng: Random, counts: Sequence[int]) -> tuple[str, ...]:
    return tuple(rng.sample(items, min(rng.choice(counts), len(items))))


def _lines(items: Sequence[str], rng: Random) -> str:
    """Return items one a line: numbered, with dashes, or bare."""
    style = rng.choice(("number", "number", "dash", "bare"))
    marks = {"number": "{index}. ", "dash": "- ", "bare": ""}
    return "\n".join(marks[style].format(index=index) + item for index, item in enumerate(items, start=1))
