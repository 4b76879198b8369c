"""Draws the prompts: distinct, a fixed share of each kind, the same for the same seed."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import islice
from random import Random
from typing import Any

from .prompt_data import KINDS, Form, PromptData, prompt_data
from .prompt_filling import Filled, SubPrompt, fill

ATTEMPTS_PER_PROMPT = 2000


@dataclass(frozen=True)
class Prompt:
    """A prompt, its kind, whether it asks for independent parts, and the form and topics that it was made of.

    sub_prompts: the questions for the parts of its answer; none where it is answered as a whole.
    """

    id: str
    prompt: str
    kind: str
    parts: bool
    form: str
    topics: tuple[str, ...]
    sub_prompts: tuple[SubPrompt, ...] = ()

    def record(self) -> dict[str, Any]:
        """Return the prompt as a JSON object."""
        row = asdict(self)
        return row | {"topics": list(self.topics), "sub_prompts": list(row["sub_prompts"])}


def prompts(count: int, seed: int, held_out: bool = False) -> list[Prompt]:
    """Return `count` distinct prompts; the first of a longer list are those of a shorter one.

    Held-out prompts share neither forms nor topics with the others.

    Raises:
        ValueError: so many distinct prompts cannot be found.
    """
    found = list(islice(_draw(seed, held_out), count))
    if len(found) < count:
        raise ValueError(f"Got count {count}, expected at most the {len(found)} distinct prompts found; ask for fewer.")
    return found


def _draw(seed: int, held_out: bool) -> Iterator[Prompt]:
    """Yield prompts of which no two have the same text, or the same form with the same topics."""
    name = "held-out" if held_out else "training"
    rng, data = Random(f"{name} {seed}"), prompt_data(held_out)
    names, shares = list(KINDS), [kind.share for kind in KINDS.values()]
    seen: set[tuple[str, ...]] = set()
    index = 0
    while drawn := _new(rng.choices(names, shares)[0], data, rng, seen):
        index += 1
        form, filled = drawn
        parts = KINDS[form.kind].parts
        yield Prompt(f"{name}-{index:05d}", filled.text, form.kind, parts, form.text, filled.topics, filled.parts)


def _new(kind: str, data: PromptData, rng: Random, seen: set[tuple[str, ...]]) -> tuple[Form, Filled] | None:
    """Draw a form of a kind and fill it to a prompt that was not seen before; None where none is found."""
    for _ in range(ATTEMPTS_PER_PROMPT):
        form = rng.choice(data.forms[kind])
        filled = fill(form, data, rng)
        text = filled.text
        # Sums differ in their numbers; elsewhere another count or wish would be the same prompt again.
        keys = {(text,), (text,) if kind == "sum" else (form.text, *sorted(filled.topics))}
        if not keys & seen:
            seen |= keys
            return form, filled
    return None
