"""Reads topics.toml and forms.toml: what the prompts are about, and how they ask."""

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent


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


@dataclass(frozen=True)
class Form:
    """A way to ask: its kind, the category of its topics, and its text with places to fill."""

    kind: str
    category: str
    text: str


@dataclass(frozen=True)
class PromptData:
    """Topics by category, forms by kind, and what fills the forms; of training prompts, or of held-out ones."""

    topics: Mapping[str, tuple[str, ...]]
    forms: Mapping[str, tuple[Form, ...]]
    aspects: Mapping[str, tuple[str, ...]]
    asked: Mapping[str, tuple[str, ...]]
    brief: tuple[str, ...]


@lru_cache
def prompt_data(held_out: bool = False) -> PromptData:
    """Return the topics and forms of the training prompts, or of the held-out ones."""
    section = "held_out" if held_out else "training"
    topics, forms = (_read(name)[section] for name in ("topics.toml", "forms.toml"))
    return PromptData(
        topics={category: _entries(text) for category, text in topics.items()},
        forms={kind: _forms(kind, forms[kind]) for kind in KINDS},
        aspects={category: _entries(text) for category, text in forms["aspects"].items()},
        asked={category: _entries(text) for category, text in forms["asked"].items()},
        brief=_entries(forms["brief"]["parts"]),
    )


def hints(parts: bool | None) -> tuple[str, ...]:
    """Return the hints for prompts that ask for parts (or must not be split); none where that is not known."""
    if parts is None:
        return ()
    return _entries(_read("forms.toml")["training"]["hint"]["parts" if parts else "whole"])


def _read(name: str) -> dict[str, dict[str, Any]]:
    return tomllib.loads((FOLDER / name).read_text(encoding="utf-8"))


def _forms(kind: str, texts: Mapping[str, str]) -> tuple[Form, ...]:
    return tuple(Form(kind, category, line) for category, text in texts.items() for line in _entries(text, "\v"))


def _entries(text: str, separator: str = ";") -> tuple[str, ...]:
    return tuple(entry.strip() for entry in re.split(f"[{separator}\n]", text) if entry.strip())
