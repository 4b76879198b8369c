"""The table of targets of drafts: what was asked of them, and what the results files say.

    python benchmarks/draft_targets.py

It reads what rivals.py, left_to_right.py, drafting.py and `planned-diffusion study decoders` left in
benchmarks/results/; docs/tables.py writes the table into docs/results.md. Numbers in parentheses are quartiles over
prompts or batches; of forwards and facts, the 95 % interval over prompts.
"""

import json
from pathlib import Path
from typing import Any, NamedTuple

from harness import inverted, print_table

RESULTS = Path(__file__).parent / "results"
DRAFTED_PLAN = "planned, threshold 0.9, drafted plan"
PARTS, COMPILED, ROUNDED = "plans and drafts", "plans and drafts, compiled", "plans and drafts, w8a8, compiled"
TEXT = "drafts, w8a8, compiled"
# Files of lines; the study of decoders stands beside them.
FILES = (
    "drafting_facts", "drafting_text", "drafting_drafter", "rivals", "rivals_batches", "eight_bits", "left_to_right",
)  # fmt: skip
ALONE = {"prompts": "list", "batch": 1}


class Results(NamedTuple):
    """The rows of a results file, and where and when they were measured."""

    rows: list[dict[str, Any]]
    source: str

    def row(self, **wanted: object) -> dict[str, Any]:
        """Return the first row with these entries."""
        return next(row for row in self.rows if all(row[key] == value for key, value in wanted.items()))


def kept(name: str, rows: str = "rows") -> Results:
    """Return a results file."""
    file = json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))
    stamp = file["stamp"]
    threads = f"{stamp['threads']} threads" if "threads" in stamp else stamp["machine"]
    return Results(file[rows], f"{name}.json, {stamp['date'][:10]}, {stamp['commit']}, {threads}")


def machines(*names: str) -> str:
    """Return the processors and versions of results files, as text."""
    stamps = [json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))["stamp"] for name in names]
    return "; ".join(dict.fromkeys(f"{one['device']}, {one['cores']} cores, {one['versions']}" for one in stamps))


def first_number(text: str) -> float:
    """Return the median of `1.36 (1.34 to 1.39)`."""
    return float(text.split()[0])


def line(what: str, target: str, measured: str, reached: bool, results: Results) -> dict[str, str]:
    """Return a line of the table."""
    return {
        "what": what,
        "target": target,
        "measured": measured,
        "reached": "yes" if reached else "no",
        "from": results.source,
    }


def at_least(what: str, target: float, measured: str, results: Results, by: str = "") -> dict[str, str]:
    """Return the line of a number that should reach the target.

    Args:
        by: the system that was measured, if `what` does not say it.
    """
    said = f"{measured}, {by}" if by else measured
    return line(what, f">= {target}", said, first_number(measured) >= target, results)


def all_equal(what: str, results: Results) -> dict[str, str]:
    """Return the line that asks for answers equal to those of the twins, which rows count as `5 of 6`."""
    counts = [row["equal"] for row in results.rows]
    return line(what, "all", ", ".join(counts), all(len({*text.split(" of ")}) == 1 for text in counts), results)


def interval(figure: dict[str, float], form: str) -> str:
    """Return a study's figure with its interval."""
    value, low, high = (format(figure[name], form) for name in ("value", "low", "high"))
    return f"{value} ({low} to {high})"


def facts_line(studied: Results) -> dict[str, str]:
    """Return the line of forwards and facts of the included model."""
    row = studied.row(system=DRAFTED_PLAN)
    forwards, right = row["forwards"], row["facts right"]
    return line(
        "facts, alone: forwards per answer, facts right",
        "<= 9, >= 99 %",
        f"{interval(forwards, '.1f')}, {interval(right, '.1%')}, {DRAFTED_PLAN}",
        forwards["value"] <= 9 and right["value"] >= 0.99,
        studied,
    )


def seconds_lines(rivals: Results, rounded: Results) -> list[dict[str, str]]:
    """Return the lines of a list that is written alone, in tokens per second."""
    lines = []
    for name, results in ((COMPILED, rivals), (ROUNDED, rounded), (TEXT, rounded)):
        row, what = results.row(**ALONE, system=name), f"the same, tokens per second, {name}"
        lines += [
            at_least(f"{what} / our left to right in bfloat16", 2.2, row["x left to right"], results),
            at_least(f"{what} / llama.cpp", 1.0, row["x llama.cpp"], results),
        ]
    return lines


def batch_lines(batches: Results, drafted: Results) -> list[dict[str, str]]:
    """Return the lines of batches of eight: tokens per second with drafts over those without."""
    lines = []
    for kind in ("list", "story"):
        for name in (PARTS, f"{PARTS}, w8a8, compiled", "drafts", TEXT):
            ratio = batches.row(prompts=kind, batch=8, system=name)["x twin"]
            what = f"SmolLM2, {name}, prompts for a {kind}, batches of 8: speed with drafts / without"
            lines.append(at_least(what, 1.15, ratio, batches))
    for name in ("speculative", "parallel_speculative"):
        ratio = inverted(drafted.row(batch=8, decoding=name)["seconds of twin"])
        lines.append(at_least(f"facts, {name}, batches of 8: speed with drafts / without", 1.15, ratio, drafted))
    return lines


def target_rows() -> list[dict[str, str]]:
    """Return the lines of the table."""
    drafted, texts, gated, rivals, batches, rounded, plain = map(kept, FILES)
    lines = [
        all_equal("facts, float32, batch 1 and 8: answers equal to their left-to-right twins", drafted),
        all_equal("AlpacaEval prompts, SmolLM2 planner, the same", texts),
        facts_line(kept("studies/decoders", "results")),
        at_least(
            "SmolLM2 with a gated drafter (300 steps), plain text, bfloat16: tokens per forward",
            1.8,
            gated.row(decoding="speculative", batch=1)["tokens / forward"],
            gated,
        ),
        at_least(
            "SmolLM2, lists alone: tokens per sequential forward, plan included",
            3.0,
            rivals.row(**ALONE, system=COMPILED)["tokens / forward"],
            rivals,
            COMPILED,
        ),
        *seconds_lines(rivals, rounded),
        *batch_lines(batches, drafted),
    ]
    for row in plain.rows:
        what = f"SmolLM2, left to right, batch {row['batch']}: our tokens per second / those of transformers' generate"
        lines.append(at_least(what, 1.0, row["ours / transformers"], plain))
    return lines


if __name__ == "__main__":
    print_table("Targets of drafts", target_rows())
    print(machines(*FILES))
