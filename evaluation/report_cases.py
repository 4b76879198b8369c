"""Choose the worst answers of each system and as many of the best, by one measure, to be looked at side by side."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .text_answers import TextAnswer
from .text_figures import figures_of


@dataclass(frozen=True)
class Case:
    """An answer to look at: prompt, text, its figures by name, and its plan, a line per round."""

    prompt: str
    text: str
    figures: Mapping[str, str]
    plan: Sequence[str] = ()


@dataclass(frozen=True)
class Cases:
    """The worst and the best answers of a system, by the same measure and as many of each."""

    system: str
    measure: str
    worst: Sequence[Case]
    best: Sequence[Case]


def answer_cases(answers: Sequence[TextAnswer], shown: int) -> list[Cases]:
    """Return the worst and best answers of every system, by likelihood, or by repetition where nothing scored them."""
    by_system: dict[str, dict[int, TextAnswer]] = {}
    for one in answers:  # a prompt counts once, whatever it was answered together with
        by_system.setdefault(one.system, {}).setdefault(one.asked.line, one)
    return [_cases_of(system, list(own.values()), shown) for system, own in by_system.items()]


def _cases_of(system: str, answers: Sequence[TextAnswer], shown: int) -> Cases:
    figured = [(one, figures_of(one)) for one in answers]
    scored = [pair for pair in figured if pair[1]["log_likelihood"] is not None]
    name, sign, pairs = ("log_likelihood", 1, scored) if scored else ("repeated", -1, figured)
    ranked = sorted(pairs, key=lambda pair: sign * (pair[1][name] or 0.0))
    cases = [_case(one, figures) for one, figures in ranked]
    measure = "log-likelihood per token" if scored else "repeated 3-grams"
    return Cases(system, measure, *ends_of(cases, shown))


def _case(one: TextAnswer, figures: Mapping[str, float | None]) -> Case:
    """Return an answer to look at."""
    shown = {"log-likelihood per token": ("log_likelihood", ".2f"), "repeated 3-grams": ("repeated", ".0%"),
             "tokens": ("tokens", ".0f"), "forwards": ("forwards", ".0f"), "seconds": ("seconds", ".2f")}  # fmt: skip
    told = {name: f"{figures[key]:{number}}" for name, (key, number) in shown.items() if figures[key] is not None}
    plan = [", ".join(f"{span.topic} ({span.used} of {span.length} tokens)" for span in spans) for spans in one.plans]
    return Case(prompt_text(one.asked.prompt), one.text, {**told, "ended by": one.ended}, plan)


def prompt_text(prompt: str | Sequence[Mapping[str, Any]]) -> str:
    """Return a prompt as text; the messages of a chat have their roles in front."""
    if isinstance(prompt, str):
        return prompt
    return "\n".join(f"{message.get('role')}: {message.get('content')}" for message in prompt)


def ends_of(ranked: Sequence[Case], shown: int) -> tuple[Sequence[Case], Sequence[Case]]:
    """Return the first and the last of answers that are ranked from the worst on, the best first; none is in both."""
    half = min(shown, -(-len(ranked) // 2))
    return ranked[:half], ranked[::-1][: min(shown, len(ranked) - half)]


def sample_cases(samples: Sequence[Mapping[str, Any]], shown: int) -> Cases:
    """Return the samples of the last evaluation: plans that are not well formed first, then rooms used least."""
    last = [one for one in samples if one["step"] == max(sample["step"] for sample in samples)]
    ranked = sorted(last, key=lambda one: (one["well_formed"], _room(one)))
    cases = [
        Case(
            one["prompt"],
            one["text"],
            {"plan well formed": "yes" if one["well_formed"] else "no", "room used": f"{_room(one):.0%}"},
            [", ".join(f"{part['topic']} ({part['used']} of {part['promised']} tokens)" for part in parts)
             for parts in one["plan"]],
        )
        for one in ranked
    ]  # fmt: skip
    return Cases(f"step {last[0]['step']}", "plan and room used", *ends_of(cases, shown))


def _room(sample: Mapping[str, Any]) -> float:
    """Return the share of promised tokens that a sample used; 0 without a plan."""
    parts = [part for parts in sample["plan"] for part in parts]
    promised = sum(part["promised"] for part in parts)
    return sum(part["used"] for part in parts) / promised if promised else 0.0
