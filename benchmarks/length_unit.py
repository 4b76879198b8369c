"""Measures length units: what plans of natural answers cost, and how much of the promised room is used.

    python benchmarks/length_unit.py POOL --model smollm2 --out benchmarks/results/length_unit.json

POOL is JSON Lines with `prompt` and `response`; the tokenizer of the checkpoint counts. The structure annotator
plans every answer once; per unit the promises are written, and the answers kept whose plan gains enough (0.7). All
answers, and those as short as a small model's. Columns, over the answers that are planned:

    planned        share of all answers
    parts, plan    spans and plan tokens of an answer
    per promise    tokens of a promise
    4 n + 2        plan tokens over that, n parts
    used           text tokens of all spans by the room promised
    numbers        different numbers that cover 99 % of the promises; digits: of a promise
    path           critical path, ideal, by the plain length
"""

import math
from argparse import Namespace
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from harness import arguments, report, stamp

from planned_diffusion.annotation.gain import critical_path, plan_tokens, sequential
from planned_diffusion.annotation.pipeline import counter_of
from planned_diffusion.annotation.structure import annotate_by_structure
from planned_diffusion.annotation.tagging import Sizes, TokenCounter, tagged_answer
from planned_diffusion.cli.model_names import checkpoint_of
from planned_diffusion.records.jsonl import json_lines

UNITS = (4, 5, 8, 10)
MIN_GAIN = 0.7
SHORT = 160  # tokens of an answer that a small model writes
CHUNK = 256
COVERED = 0.99  # of the promises


@dataclass(frozen=True)
class Planned:
    """The sizes of a planned answer, by unit."""

    sizes: dict[int, Sizes]

    @property
    def length(self) -> int:
        """The tokens of the answer without plan."""
        return sequential(next(iter(self.sizes.values())))


def plan_all(rows: Sequence[dict], counter: TokenCounter) -> list[Planned]:
    """Plan the answers and write their promises in every unit; answers without plan are left out."""
    planned = []
    for start in range(0, len(rows), CHUNK):
        chunk = rows[start : start + CHUNK]
        plans = [(row["response"], annotate_by_structure(row["prompt"], row["response"]).rounds) for row in chunk]
        tokens = counter.tally(rounds for _, rounds in plans)
        planned += [
            Planned({unit: tagged_answer(answer, rounds, tokens, unit)[1] for unit in UNITS})
            for answer, rounds in plans
            if rounds
        ]
    return planned


def row_of(name: str, unit: int, planned: Sequence[Planned], answers: int) -> dict:
    """Return a line of the table."""
    sizes = [one.sizes[unit] for one in planned]
    sizes = [one for one in sizes if critical_path(one) <= MIN_GAIN * sequential(one)]
    lengths = [length for one in sizes for spans in one.spans for length in spans]
    numbers = [math.ceil(length / unit) for length in lengths]
    parts, plan = len(lengths), sum(map(plan_tokens, sizes))
    return {
        "answers": name,
        "unit": unit,
        "planned": round(len(sizes) / answers, 3),
        "parts": round(parts / len(sizes), 2),
        "plan": round(plan / len(sizes), 2),
        "per promise": round((plan - sum(len(one.spans) for one in sizes)) / parts, 2),
        "over 4 n + 2": round((plan - 4 * parts) / len(sizes) - 2, 2),
        "used": round(sum(lengths) / (unit * sum(numbers)), 3),
        "numbers": covering(Counter(numbers)),
        "digits": round(sum(len(str(number)) for number in numbers) / parts, 3),
        "path": round(sum(critical_path(one) / sequential(one) for one in sizes) / len(sizes), 3),
    }


def covering(counts: Counter[int]) -> int:
    """Return how many of the commonest values cover the share `COVERED` of all."""
    covered, wanted = 0, COVERED * counts.total()
    for index, (_, count) in enumerate(counts.most_common(), start=1):
        covered += count
        if covered >= wanted:
            return index
    return 0


def main(args: Namespace) -> None:
    """Measure every unit and print the table."""
    rows = [row for _, row in json_lines(args.pool)]
    counter = counter_of(checkpoint_of(args.model), UNITS[0])
    planned = plan_all(rows, counter)
    lengths = [length + 1 for length in counter.count([row["response"] for row in rows])]
    short = [one for one in planned if one.length <= SHORT]
    table = [row_of("all", unit, planned, len(rows)) for unit in UNITS]
    table += [row_of(f"up to {SHORT} tokens", unit, short, sum(n <= SHORT for n in lengths)) for unit in UNITS]
    report("length units", table, stamp(pool=args.pool.name, min_gain=MIN_GAIN, answers=len(rows)), args.out)


if __name__ == "__main__":
    parser = arguments(__doc__ or "")
    parser.add_argument("pool", type=Path, help="JSON Lines with prompt and response, plain or gzipped")
    parser.add_argument("--model", required=True, help="checkpoint folder, or a base by name")
    main(parser.parse_args())
