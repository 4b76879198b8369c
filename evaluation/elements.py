"""A second table of facts, chemical elements, for fine-tuning the embedded model: ordinary questions and answers.

Answers are plain lists, as ordinary data has them: `planned-diffusion annotate` finds their plan.

    python -m planned_diffusion.evaluation.elements write runs/elements.jsonl --count 6000
    python -m planned_diffusion.evaluation.elements replay runs/countries.jsonl --count 9000
    python -m planned_diffusion.evaluation.elements measure runs/elements

`replay` writes annotated answers about countries, so that a model that learns elements keeps what it knew. Every
element with some set of asked attributes is held out, chosen by a hash.
"""

import argparse
import json
import sys
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any, cast

from transformers import PreTrainedTokenizerFast

from ..facts.generator import training_questions
from ..facts.training_records import write_records
from ..loading.embedded import EMBEDDED
from ..loading.load import load

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedTokenizerBase

    from ..modeling_planned_diffusion import PlannedDiffusionForCausalLM

# Hydrogen to xenon in the order of their atomic numbers.
NAMES: Sequence[str] = """
hydrogen helium lithium beryllium boron carbon nitrogen oxygen fluorine neon sodium magnesium aluminium silicon
phosphorus sulfur chlorine argon potassium calcium scandium titanium vanadium chromium manganese iron cobalt nickel
copper zinc gallium germanium arsenic selenium bromine krypton rubidium strontium yttrium zirconium niobium molybdenum
technetium ruthenium rhodium palladium silver cadmium indium tin antimony tellurium iodine xenon
""".split()  # noqa: SIM905
SYMBOLS: Sequence[str] = """
H He Li Be B C N O F Ne Na Mg Al Si P S Cl Ar K Ca Sc Ti V Cr Mn Fe Co Ni Cu Zn Ga Ge As Se Br Kr Rb Sr Y Zr Nb Mo Tc Ru
Rh Pd Ag Cd In Sn Sb Te I Xe
""".split()  # noqa: SIM905
GASES = {"hydrogen", "helium", "nitrogen", "oxygen", "fluorine", "neon", "chlorine", "argon", "krypton", "xenon"}
LAST_OF_PERIOD = (2, 10, 18, 36, 54)

SENTENCES = {
    "symbol": "The chemical symbol of {name} is {value}.",
    "atomic number": "The atomic number of {name} is {value}.",
    "group": "The group of {name} in the periodic table is {value}.",
    "period": "The period of {name} in the periodic table is {value}.",
    "state": "At room temperature {name} is a {value}.",
}
PROMPTS = (
    "What are {list} of {name}?",
    "Tell me {list} of {name}.",
    "For the element {name}, list {list}.",
    "I need {list} of {name} for chemistry class.",
    "About {name}: {list}, please.",
    "Which {bare} does the element {name} have?",
)
HELD_OUT_ONE_IN = 10


@dataclass(frozen=True)
class ElementQuestion:
    """A prompt about one element, its answer as a list, and the sentences that a right answer must contain."""

    prompt: str
    answer: str
    facts: tuple[str, ...]


def value(name: str, attribute: str) -> str:
    """Return the value of an attribute of an element, as text."""
    number = NAMES.index(name) + 1
    period = next(index for index, last in enumerate(LAST_OF_PERIOD, start=1) if number <= last)
    if attribute == "symbol":
        return SYMBOLS[number - 1]
    if attribute == "atomic number":
        return str(number)
    if attribute == "period":
        return str(period)
    if attribute == "state":
        return "gas" if name in GASES else "liquid" if name == "bromine" else "solid"
    last = LAST_OF_PERIOD[period - 1]
    columns_from_the_right = last - number
    width = last - (LAST_OF_PERIOD[period - 2] if period > 1 else 0)
    column = width - columns_from_the_right  # counted from 1 on the left
    left = 1 if period == 1 else 2  # columns on the left of the gap in short periods
    return str(column if column <= left else 18 - columns_from_the_right)


def questions(count: int, seed: int, held_out: bool = False) -> Iterator[ElementQuestion]:
    """Draw `count` questions about two or three attributes; the same for the same arguments."""
    rng = Random(f"elements {seed} {held_out}")
    made = 0
    while made < count:
        name, attributes = rng.choice(NAMES), rng.sample(list(SENTENCES), rng.randint(2, 3))
        if is_held_out(name, attributes) != held_out:
            continue
        made += 1
        facts = tuple(SENTENCES[attribute].format(name=name, value=value(name, attribute)) for attribute in attributes)
        with_article = [f"the {attribute}" for attribute in attributes]
        prompt = rng.choice(PROMPTS).format(name=name, list=_joined(with_article), bare=_joined(attributes))
        yield ElementQuestion(prompt, "\n".join(f"- {fact}" for fact in facts), facts)


def is_held_out(name: str, attributes: list[str]) -> bool:
    """Return whether training must not ask for these attributes of this element, in any order."""
    return zlib.crc32(f"{name}#{'|'.join(sorted(attributes))}".encode()) % HELD_OUT_ONE_IN == 0


def _joined(items: list[str]) -> str:
    return f"{', '.join(items[:-1])} and {items[-1]}"


def share_of_facts_right(
    model: "PlannedDiffusionForCausalLM", tokenizer: "PreTrainedTokenizerBase", count: int, batch_size: int = 8
) -> float:
    """Return the share of facts that stand word for word in the answers to held-out questions."""
    asked = list(questions(count, seed=0, held_out=True))
    right = total = 0
    for start in range(0, count, batch_size):
        batch = asked[start : start + batch_size]
        inputs = tokenizer([question.prompt for question in batch], return_tensors="pt", padding=True,
                           padding_side="left")  # fmt: skip
        out = cast("Tensor", model.generate(**cast("dict[str, Any]", inputs.to(model.device)), tokenizer=tokenizer))
        for question, text in zip(batch, tokenizer.batch_decode(out, skip_special_tokens=True), strict=True):
            right += sum(fact in text for fact in question.facts)
            total += len(question.facts)
    return right / total


def write_questions(path: Path, count: int, seed: int = 1) -> None:
    """Write ordinary training data: a line {"prompt", "response"} per question."""
    with path.open("w", encoding="utf-8") as file:
        for question in questions(count, seed):
            file.write(json.dumps({"prompt": question.prompt, "response": question.answer}) + "\n")


def write_replay(path: Path, count: int, seed: int = 2) -> None:
    """Write annotated answers about countries, with the embedded checkpoint's tokenizer and length unit."""
    tokenizer = PreTrainedTokenizerFast.from_pretrained(EMBEDDED)
    unit = json.loads((EMBEDDED / "config.json").read_text(encoding="utf-8"))["tokens_per_length_unit"]
    write_records(path, training_questions(count, seed), tokenizer, unit)


def main(argv: list[str] | None = None) -> int:
    """Run the command line; return an exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("action", choices=("write", "replay", "measure"))
    parser.add_argument("path", help="the file to write, or the checkpoint or adapter to measure")
    parser.add_argument("--count", type=int, default=500)
    args = parser.parse_args(argv)
    if args.action == "measure":
        model, tokenizer = load(args.path)
        share = share_of_facts_right(model.eval(), cast("PreTrainedTokenizerBase", tokenizer), args.count)
        print(f"facts right: {share:.1%} of {args.count} answers")
    else:
        Path(args.path).parent.mkdir(parents=True, exist_ok=True)
        {"write": write_questions, "replay": write_replay}[args.action](Path(args.path), args.count)
    return 0


if __name__ == "__main__":
    sys.exit(main())
