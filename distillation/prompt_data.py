"""Reads topics.toml and forms.toml: what the prompts are about, and how they ask."""

import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent
MARK, WHOLE = ">", "whole"  # how forms.toml marks the wordings of parts, and forms without them


@dataclass(frozen=True)
class Kind:
    """A kind of prompt: whether it asks for independent parts, and how many of a hundred prompts are of it."""

    parts: bool
    share: int


KINDS = {
    "list": Kind(parts=True, share=16),
    "compare": Kind(parts=True, share=9),
    "questions": Kind(parts=True, share=12),
    "describe": Kind(parts=True, share=8),
    "pros_cons": Kind(parts=True, share=4),
    "plan": Kind(parts=True, share=5),
    "define": Kind(parts=True, share=4),
    "each": Kind(parts=True, share=3),
    "tips": Kind(parts=True, share=4),
    "gifts": Kind(parts=True, share=2),
    "story": Kind(parts=False, share=5),
    "poem": Kind(parts=False, share=3),
    "sum": Kind(parts=False, share=6),
    "steps": Kind(parts=False, share=4),
    "fact": Kind(parts=False, share=7),
    "rewrite": Kind(parts=False, share=4),
    "opinion": Kind(parts=False, share=2),
    "letter": Kind(parts=False, share=2),
}


LISTS = ("list", "tips", "gifts")  # kinds that ask for a number of things without naming them


@dataclass(frozen=True)
class Wording:
    """How one part of an answer is called and asked for, both with places to fill."""

    label: str
    question: str


@dataclass(frozen=True)
class Form:
    """A way to ask: its kind, the category of its topics, its text with places to fill, and how to ask for its parts.

    wordings: of the parts that are asked for one by one; none where the prompt is answered as a whole.
    """

    kind: str
    category: str
    text: str
    wordings: tuple[Wording, ...] = ()

    @property
    def asks_for_aspects(self) -> bool:
        """Tell whether a list, tips or gifts get their parts from the aspects of the topic."""
        return self.kind in LISTS and any("{ask}" in wording.question for wording in self.wordings)


@dataclass(frozen=True)
class PromptData:
    """Topics by category, forms by kind, and what fills the forms; of training prompts, or of held-out ones.

    aspects: of a category's topics, each with the question that asks for it.
    days: per category of plans the questions that ask for single days.
    endings: what stands behind the question for a part, by the number of sentences that it asks for.
    """

    topics: Mapping[str, tuple[str, ...]]
    forms: Mapping[str, tuple[Form, ...]]
    aspects: Mapping[str, Mapping[str, str]]
    asked: Mapping[str, tuple[str, ...]]
    brief: tuple[str, ...]
    days: Mapping[str, tuple[str, ...]]
    endings: Mapping[int, str]


@lru_cache
def prompt_data(held_out: bool = False) -> PromptData:
    """Return the topics and forms of the training prompts, or of the held-out ones."""
    section = "held_out" if held_out else "training"
    topics, every = _read("topics.toml")[section], _read("forms.toml")
    forms, parts = every[section], every["parts"]
    return PromptData(
        topics={category: _entries(text) for category, text in topics.items()},
        forms={kind: _forms(kind, forms[kind], parts.get(kind, {})) for kind in KINDS},
        aspects={
            category: {one.label: one.question for one in map(_wording, _lines(text))}
            for category, text in forms["aspects"].items()
        },
        asked={category: _entries(text) for category, text in forms["asked"].items()},
        brief=_entries(forms["brief"]["parts"]),
        days={category: _lines(text) for category, text in parts["days"].items()},
        endings={1: parts["ending"]["one"], 2: parts["ending"]["two"]},
    )


def _read(name: str) -> dict[str, dict[str, Any]]:
    return tomllib.loads((FOLDER / name).read_text(encoding="utf-8"))


def _forms(kind: str, texts: Mapping[str, str], parts: Mapping[str, str]) -> tuple[Form, ...]:
    """Return the forms of a kind by category; those without wordings of their own get those of the kind."""
    made = []
    for category, text in texts.items():
        of_kind = _lines(parts.get(category, parts.get("any", "")))
        for line, own in _with_own(_lines(text)):
            wordings = () if own == [WHOLE] else tuple(map(_wording, own or of_kind))
            made.append(Form(kind, category, line, wordings))
    return tuple(made)


def _with_own(lines: Iterable[str]) -> list[tuple[str, list[str]]]:
    """Return each form with the marked lines below it."""
    found: list[tuple[str, list[str]]] = []
    for line in lines:
        if line.startswith(MARK):
            found[-1][1].append(line.removeprefix(MARK).strip())
        else:
            found.append((line, []))
    return found


def _wording(line: str) -> Wording:
    label, _, question = line.partition(":")
    return Wording(label.strip(), question.strip())


def _lines(text: str) -> tuple[str, ...]:
    return tuple(line.strip() for line in text.splitlines() if line.strip())


def _entries(text: str) -> tuple[str, ...]:
    return tuple(entry.strip() for entry in re.split("[;\n]", text) if entry.strip())
