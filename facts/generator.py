"""Draws questions: a prompt, and its answer as rounds of statements that can be written at the same time.

"facts"        one country, one to six attributes; one round, one statement per attribute in the order asked
"comparison"   two countries, one attribute; a round with one statement per country, then a round with the verdict

Two things are held out from training: some phrasings (frames marked so in `frames`), and some combinations (a country
with a set of two attributes or more; a pair of countries with a compared attribute), chosen by a hash that does not
depend on the Python process. Single facts are never held out: they all have to be learnt.
"""

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from random import Random

from .countries import ATTRIBUTES, Country, load_countries
from .frames import COMPARISON_FRAMES, FACT_FRAMES, Frame
from .prompts import comparison_prompt, fact_prompt
from .scrambled import SCRAMBLED, scrambled_comparison_frame, scrambled_fact_frame
from .sentences import COMPARABLE, COMPARISON_TOPIC, TOPICS, comparison_sentence, fact_sentence

# Share of the questions with one, two, ... six attributes.
SHARE_BY_NUMBER_OF_ATTRIBUTES = (0.12, 0.18, 0.25, 0.20, 0.13, 0.12)
COMPARISON_SHARE = 0.2
HELD_OUT_ONE_IN = 10
ATTEMPTS_PER_QUESTION = 1000
ATTEMPTS_PER_PAIR = 20_000  # in the whole table, the rarest kind of pair is one in 600

COMBINATION = "combination"
PHRASING = "phrasing"


@dataclass(frozen=True, slots=True)
class Statement:
    """One sentence of the answer: a fact about a country, or a verdict, which has two countries and two values."""

    topic: str
    text: str  # begins with the space that separates it from the statement before
    attribute: str
    countries: tuple[str, ...]
    values: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class FactsQuestion:
    """A prompt with its canonical answer. `held_out` says why training never sees it: COMBINATION, PHRASING."""

    kind: str
    prompt: str
    rounds: tuple[tuple[Statement, ...], ...]
    frame: str
    held_out: frozenset[str] = frozenset()

    @property
    def statements(self) -> tuple[Statement, ...]:
        """Return all statements, round after round."""
        return tuple(statement for statements in self.rounds for statement in statements)

    @property
    def answer(self) -> str:
        """Return the answer as prose: the texts of all statements, one after another."""
        return "".join(statement.text for statement in self.statements)


def training_questions(
    count: int,
    seed: int,
    comparison_share: float = COMPARISON_SHARE,
    scrambled_share: float = 0.0,
    countries: Sequence[Country] | None = None,
) -> Iterator[FactsQuestion]:
    """Draw `count` questions with training phrasings and training combinations; the same for the same arguments.

    A share of `scrambled_share` has its fields between random words instead of a phrasing (see `scrambled`). The
    questions are about `countries`, by default all of the table.
    """
    rng = Random(f"training {seed}")
    _check_share(comparison_share)
    _check_share(scrambled_share)
    chosen = countries or load_countries()
    return (_draw(rng, chosen, comparison_share, frozenset(), scrambled_share) for _ in range(count))


def held_out_questions(
    count: int, seed: int, comparison_share: float = COMPARISON_SHARE, countries: Sequence[Country] | None = None
) -> list[FactsQuestion]:
    """Draw `count` questions with distinct prompts about `countries` or all of the table; the same for the same seed.

    Combinations are held out in all of them, phrasings too in every second one. A question with a single attribute has
    no combination: it is held out by its phrasing. Raises ValueError when so many distinct prompts cannot be found.
    """
    rng = Random(f"held out {seed}")
    _check_share(comparison_share)
    chosen = countries or load_countries()
    questions: dict[str, FactsQuestion] = {}
    for index in range(count):
        held_out = frozenset({COMBINATION, PHRASING} if index % 2 else {COMBINATION})
        drawn = (_draw(rng, chosen, comparison_share, held_out) for _ in range(ATTEMPTS_PER_QUESTION))
        new = next((question for question in drawn if question.prompt not in questions), None)
        if new is None:
            raise ValueError(f"Got count {count}, expected at most the {index} distinct prompts found; ask for fewer.")
        questions[new.prompt] = new
    return list(questions.values())


def combination_is_held_out(countries: tuple[str, ...], attributes: tuple[str, ...]) -> bool:
    """Return whether training must avoid these names with these attributes, in any order; single facts never."""
    if len(countries) + len(attributes) < 3:
        return False
    key = "|".join(sorted(countries)) + "#" + "|".join(sorted(attributes))
    return zlib.crc32(key.encode()) % HELD_OUT_ONE_IN == 0


def facts_question(
    prompt: str, frame: str, country: Country, attributes: tuple[str, ...], held_out: frozenset[str] = frozenset()
) -> FactsQuestion:
    """Return a question whose statements follow the order of `attributes`."""
    space = [""] + [" "] * (len(attributes) - 1)
    statements = tuple(
        _fact_statement(TOPICS[attribute], country, attribute, before)
        for attribute, before in zip(attributes, space, strict=True)
    )
    return FactsQuestion("facts", prompt, (statements,), frame, held_out)


def comparison_question(
    prompt: str, frame: str, a: Country, b: Country, attribute: str, held_out: frozenset[str] = frozenset()
) -> FactsQuestion:
    """Return a question whose first round holds a fact for each country and whose second round holds the verdict."""
    facts = (_fact_statement(a.name, a, attribute, ""), _fact_statement(b.name, b, attribute, " "))
    verdict = Statement(
        topic=COMPARISON_TOPIC,
        text=" " + comparison_sentence(a, b, attribute),
        attribute=attribute,
        countries=(a.name, b.name),
        values=(a.value(attribute), b.value(attribute)),
    )
    return FactsQuestion("comparison", prompt, (facts, (verdict,)), frame, held_out)


def _draw(
    rng: Random,
    countries: Sequence[Country],
    comparison_share: float,
    held_out: frozenset[str],
    scrambled_share: float = 0.0,
) -> FactsQuestion:
    draw = _draw_comparison if rng.random() < comparison_share else _draw_facts
    is_scrambled = scrambled_share > 0 and rng.random() < scrambled_share
    return draw(rng, countries, held_out, is_scrambled)


def _draw_facts(
    rng: Random, countries: Sequence[Country], held_out: frozenset[str], is_scrambled: bool
) -> FactsQuestion:
    (number,) = rng.choices(range(1, len(SHARE_BY_NUMBER_OF_ATTRIBUTES) + 1), SHARE_BY_NUMBER_OF_ATTRIBUTES)
    if number == 1 and held_out:
        held_out = frozenset({PHRASING})
    while True:
        country = rng.choice(countries)
        attributes = tuple(rng.sample(ATTRIBUTES, number))
        if combination_is_held_out((country.name,), attributes) == (COMBINATION in held_out):
            break
    frame = scrambled_fact_frame(rng) if is_scrambled else _draw_frame(rng, FACT_FRAMES, held_out)
    prompt = fact_prompt(frame, country, attributes, rng)
    return facts_question(prompt, SCRAMBLED if is_scrambled else frame.text, country, attributes, held_out)


def _draw_comparison(
    rng: Random, countries: Sequence[Country], held_out: frozenset[str], is_scrambled: bool
) -> FactsQuestion:
    """Draw a comparison. Half of the pairs share the value; else nearly all currencies and languages would differ."""
    a, b, attribute = _draw_pair(rng, countries, COMBINATION in held_out)
    frame = scrambled_comparison_frame(rng) if is_scrambled else _draw_frame(rng, COMPARISON_FRAMES, held_out)
    prompt = comparison_prompt(frame, a, b, attribute, rng)
    return comparison_question(prompt, SCRAMBLED if is_scrambled else frame.text, a, b, attribute, held_out)


def _draw_pair(rng: Random, countries: Sequence[Country], is_held_out: bool) -> tuple[Country, Country, str]:
    """Draw two countries and the attribute to compare; draw again if the countries have no such pair."""
    attempts = min(ATTEMPTS_PER_PAIR, 40 * len(countries) ** 2)
    for _ in range(100):
        attribute = rng.choice(COMPARABLE)
        same = rng.random() < 0.5
        for _ in range(attempts):
            a, b = rng.sample(countries, 2)
            wanted_answer = (a.value(attribute) == b.value(attribute)) == same
            if wanted_answer and combination_is_held_out((a.name, b.name), (attribute,)) == is_held_out:
                return a, b, attribute
    raise ValueError(f"{len(countries)} countries have no pair to compare that may be asked for; give more of them.")


def _draw_frame(rng: Random, frames: tuple[Frame, ...], held_out: frozenset[str]) -> Frame:
    return rng.choice([frame for frame in frames if frame.held_out == (PHRASING in held_out)])


def _fact_statement(topic: str, country: Country, attribute: str, before: str) -> Statement:
    text = before + fact_sentence(country, attribute)
    return Statement(topic, text, attribute, (country.name,), (country.value(attribute),))


def _check_share(comparison_share: float) -> None:
    if not 0 <= comparison_share <= 1:
        raise ValueError(f"Got comparison_share {comparison_share}, expected a fraction from 0 to 1; change it.")
