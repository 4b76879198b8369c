"""Fills a form: topics, counts, questions and numbers become the text of one prompt.

All choices come from the `random.Random` that the caller passes in.
"""

from collections.abc import Sequence
from random import Random

from .prompt_data import Form, PromptData

WORDS = ("zero", "one", "two", "three", "four", "five", "six")
COUNTS = (2, 3, 3, 3, 4, 4, 5, 5, 6)
FEW = (2, 2, 3)  # where a form asks for the count twice, or for differences
IN_A_ROW = (2, 3, 3, 4, 5)  # terms, aspects, topics
DAYS = (2, 3, 3, 4, 5)
CHANCE_OF_BRIEF, CHANCE_OF_PRONOUN = 0.65, 0.6
PRONOUNS = {"they": "they", "them": "them", "it": "it", "in_it": "there"}


def fill(form: Form, data: PromptData, rng: Random) -> tuple[str, tuple[str, ...]]:
    """Return the text of a prompt and the topics that it names."""
    topics, places = _topics(form, data, rng)
    wish = rng.choice(data.brief) if rng.random() < CHANCE_OF_BRIEF else ""
    if form.category == "goods":
        places |= _figures(data, rng)
    if "{count}" in form.text or "{number}" in form.text:
        count = rng.choice(FEW if form.kind in ("pros_cons", "compare") else COUNTS)
        places = {"count": WORDS[count], "number": str(count)} | places
    text = form.text.replace("\\n", "\n")
    return text.format_map(places | {"brief": wish, "days": WORDS[rng.choice(DAYS)]}).strip(), topics


def joined(items: Sequence[str]) -> str:
    """Return items as one phrase: `a, b and c`."""
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} and {items[-1]}"


def _topics(form: Form, data: PromptData, rng: Random) -> tuple[tuple[str, ...], dict[str, str]]:
    """Return the topics drawn for a form, and the places that they fill."""
    of_category = data.topics[form.category]
    if form.kind == "questions":
        return _questions(form, data, rng)
    if form.kind == "each":
        several = _some(of_category, rng, IN_A_ROW)
        return several, {"several": joined(several), "lines": _lines(several, rng)}
    topic = rng.choice(of_category)
    if form.category in ("option", "pair"):
        left, right = topic.split(" | ")
        return (topic,), {"left": left, "right": right}
    if form.category == "terms":
        field, _, words = topic.partition(": ")
        terms = _some(words.split(", "), rng, IN_A_ROW)
        return terms, {"field": field, "terms": joined(terms), "lines": _lines(terms, rng)}
    places = {"topic": topic, form.category: topic}
    if form.kind == "describe":
        aspects = data.aspects[form.category]
        places["aspects"] = joined(sorted(_some(aspects, rng, IN_A_ROW), key=aspects.index))
    return (topic,), places


def _questions(form: Form, data: PromptData, rng: Random) -> tuple[tuple[str, ...], dict[str, str]]:
    """Draw unrelated questions, or questions about one topic, whose later mentions may be pronouns."""
    count = rng.choice((2, 2, 3, 3, 4))
    if form.category == "question":
        topics = questions = tuple(rng.sample(data.topics["question"], count))
        named = {}
    else:
        topics = (rng.choice(data.topics[form.category]),)
        named = {"topic": topics[0]}
        asked = data.asked[form.category]
        drawn = sorted(rng.sample(asked, count), key=asked.index)
        questions = _with_pronouns(drawn, topics[0], "{topic}" in form.text, rng)
    return topics, named | {
        "questions": " ".join(questions),
        "lines": _lines(questions, rng),
        "count": WORDS[len(questions)],
    }


def _with_pronouns(questions: Sequence[str], topic: str, is_named: bool, rng: Random) -> tuple[str, ...]:
    """Fill questions with their topic, or with pronouns wherever it was named before."""
    names = dict.fromkeys(PRONOUNS, topic) | {"topic": topic, "in_it": f"in {topic}"}
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
