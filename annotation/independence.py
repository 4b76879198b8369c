"""Judge whether the passages of an answer could be written without seeing each other: rules, and a linear model.

The rules refuse code, arithmetic and narratives, and find procedures, whose steps follow each other. The other answers
are weighed by a linear model over the features of `features.py`. `benchmarks/fit_independence.py` fits it to human
labels and writes `independence.json`: the weights, and their accuracy on folds that they were not fitted to.
"""

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from . import phrases
from .features import features_of
from .outline import LIST, NONE, PARAGRAPHS, SECTIONS, Outline, outline_of

PARALLEL, STEPS, PLAIN = "parallel", "steps", "plain"
WEIGHTS = Path(__file__).with_name("independence.json")

MOST_CODE_SIGNS = 0.6  # feature values above these are clear cases
MOST_SEQUENCE_WORDS = 0.3
LEAST_IMPERATIVE = 0.5
LEAST_IMPERATIVE_OF_STEPS = 0.3  # where steps were asked for or announced
LEAST_SEQUENCE_OPENINGS = 0.3
MOST_LINKED_OPENINGS = 0.25
LEAST_CONSEQUENCES = 0.3
LEAST_DAYS = 0.6  # of the passages: so many are headed by a day where a plan of days was asked for
MARGIN_OF_PROSE = 0.6  # paragraphs flow on unless much speaks against it (chosen on folds 0 to 3)


@dataclass(frozen=True)
class Verdict:
    """A judgement: `kind` is PARALLEL, STEPS (of a procedure) or PLAIN, `reason` names the rule, or "model"."""

    kind: str
    reason: str
    score: float | None = None


def judge(prompt: str, answer: str, outline: Outline) -> Verdict:
    """Judge whether an outline's passages are independent, steps of a procedure, or not to be split."""
    if outline.kind is NONE:
        return Verdict(PLAIN, "no parts")
    features = features_of(prompt, answer, outline)
    return ruled(answer, outline, features) or weighed(features, *model())


def why_plain(prompt: str, answer: str) -> str | None:
    """Return the rule, if any, by which an answer must never be split into independent spans, whatever its outline."""
    outline = outline_of(answer)
    if outline.kind is NONE:
        outline = Outline(PARAGRAPHS, ((0, len(answer)),), has_code=outline.has_code)
    verdict = ruled(answer, outline, features_of(prompt, answer, outline))
    return verdict.reason if verdict and verdict.kind == PLAIN and verdict.reason != "chain" else None


def ruled(answer: str, outline: Outline, features: dict[str, float]) -> Verdict | None:
    """Return the verdict of the first rule that applies, None where none does."""
    if features["has_code"] or features["code_signs"] > MOST_CODE_SIGNS or len(phrases.CODE_LINE.findall(answer)) > 1:
        return Verdict(PLAIN, "code")
    if is_arithmetic(answer, features["asks_quantity"] + features["asks_algebra"] > 0):
        return Verdict(PLAIN, "arithmetic")
    asks_several = features["asks_several"] or features["asks_list"]
    if features["asks_story"] and not features["asks_ideas"] and not (outline.kind is LIST and asks_several):
        return Verdict(PLAIN, "narrative")
    if features["asks_plan"] and features["asks_days"] and features["days"] >= LEAST_DAYS:
        return Verdict(PARALLEL, "days")
    if is_procedure(outline, features):
        return Verdict(PLAIN, "chain") if outline.kind is PARAGRAPHS else Verdict(STEPS, "procedure")
    if features["opens_consequence"] >= LEAST_CONSEQUENCES or (features["asks_proof"] and not features["asks_list"]):
        return Verdict(PLAIN, "reasoning")
    if is_enumeration(outline, features):
        return Verdict(PARALLEL, "enumeration")
    return None


def is_arithmetic(answer: str, asks_quantity: bool) -> bool:
    """Tell whether numbers or equations ask for a quantity, or the answer holds at least two computations."""
    return asks_quantity or len(phrases.COMPUTATION.findall(answer)) > 1


def is_procedure(outline: Outline, features: dict[str, float]) -> bool:
    """Tell whether the passages are steps.

    They are steps if they are called so, are linked by words of time, list things and then directions for their use,
    or are orders where a procedure was asked for or announced.
    """
    if features["says_steps"] or features["has_directions"] or features["opens_sequence"] >= LEAST_SEQUENCE_OPENINGS:
        return True
    if outline.kind is SECTIONS:
        return features["asks_procedure"] > 0
    if outline.kind is not LIST or features["asks_ideas"]:
        return False
    if features["asks_steps"]:
        return True
    if is_asked_for_steps(features) and features["imperative"] >= LEAST_IMPERATIVE_OF_STEPS:
        return True
    if features["imperative"] < LEAST_IMPERATIVE:
        return False
    is_made = features["asks_making"] and outline.marker != "bullet"
    return bool(is_made) or features["words_sequence"] >= MOST_SEQUENCE_WORDS


def is_asked_for_steps(features: dict[str, float]) -> bool:
    """Tell whether the request or the preamble speaks of steps, rather than of ideas to choose from."""
    return not features["asks_ideas"] and (features["asks_procedure"] or features["announces_steps"]) > 0


def is_enumeration(outline: Outline, features: dict[str, float]) -> bool:
    """Tell whether several things were asked for and listed, few of them opening with a link to another."""
    if outline.kind is not LIST or features["asks_code"] or not (features["asks_several"] or features["asks_list"]):
        return False
    links = ("link", "pronoun", "person")
    return sum(features[f"opens_{name}"] for name in links) <= MOST_LINKED_OPENINGS


def weighed(features: dict[str, float], weights: dict[str, float], bias: float) -> Verdict:
    """Return PARALLEL where the weighted sum of the features is large enough, else PLAIN."""
    score = bias + sum(weight * features[name] for name, weight in weights.items())
    is_prose = not features["is_list"] and not features["is_sections"]
    return Verdict(PARALLEL if score > MARGIN_OF_PROSE * is_prose else PLAIN, "model", score)


@cache
def model() -> tuple[dict[str, float], float]:
    """Return the weights and the bias of the committed model."""
    fitted = json.loads(WEIGHTS.read_text(encoding="utf-8"))
    return fitted["weights"], fitted["bias"]
