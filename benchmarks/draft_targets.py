"""The table of targets of drafts: what was asked of them, and what the results files say.

    python benchmarks/draft_targets.py

It reads what rivals.py, left_to_right.py, drafting.py and `planned-diffusion evaluate --all` left in
benchmarks/results/; docs/tables.py writes the table into docs/results.md.
"""

import json
from pathlib import Path
from typing import Any

from harness import print_table

RESULTS = Path(__file__).parent / "results"
DRAFTED_PLAN = "planned, threshold 0.9, drafted plan"
PARTS, COMPILED, ROUNDED = "plans and drafts", "plans and drafts, compiled", "plans and drafts, w8a8, compiled"
TEXT = "drafts, w8a8, compiled"


def kept(name: str, rows: str = "rows") -> list[dict[str, Any]]:
    return json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))[rows]


def row_of(rows: list[dict[str, Any]], **wanted: object) -> dict[str, Any]:
    return next(row for row in rows if all(row[key] == value for key, value in wanted.items()))


def first_number(text: str) -> float:
    """Return the median of `1.36 (1.34 to 1.39)`."""
    return float(text.split()[0])


def line(what: str, target: str, measured: str, reached: bool) -> dict[str, str]:
    return {"what": what, "target": target, "measured": measured, "reached": "yes" if reached else "no"}


def all_equal(what: str, rows: list[dict[str, Any]]) -> dict[str, str]:
    """Return the line that asks for answers equal to those of the twins, which rows count as `5 of 6`."""
    counts = [row["equal"] for row in rows]
    return line(what, "all", ", ".join(counts), all(len({*text.split(" of ")}) == 1 for text in counts))


def target_rows() -> list[dict[str, str]]:
    """Return the lines of the table."""
    drafted, texts, rivals = kept("drafting_facts"), kept("drafting_text"), kept("rivals")
    rounded = kept("eight_bits")
    gated = row_of(kept("drafting_drafter"), decoding="speculative", batch=1)
    plan = row_of(kept("decoders", "results_alone"), system=DRAFTED_PLAN)
    alone = {"prompts": "list", "batch": 1}
    fast = row_of(rivals, **alone, system=COMPILED)
    lines = [
        all_equal("facts, float32, batch 1 and 8: answers equal to their left-to-right twins", drafted),
        all_equal("AlpacaEval prompts, SmolLM2 planner, the same", texts),
        line(
            "facts, alone: forwards per answer, facts right",
            "<= 9, >= 99 %",
            f"{plan['forwards']:.1f}, {plan['facts_right']:.1%} (planned with a drafted plan)",
            plan["forwards"] <= 9 and plan["facts_right"] >= 0.99,
        ),
        line(
            "SmolLM2 with a gated drafter (300 steps), plain text, bfloat16: tokens per forward",
            ">= 1.8",
            f"{gated['tokens / forward']:.2f}",
            gated["tokens / forward"] >= 1.8,
        ),
        line(
            "SmolLM2, lists alone: tokens per sequential forward, plan included",
            ">= 3.0",
            f"{fast['tokens / forward']} ({COMPILED})",
            fast["tokens / forward"] >= 3,
        ),
    ]
    for name, rows in ((COMPILED, rivals), (ROUNDED, rounded), (TEXT, rounded)):
        row = row_of(rows, **alone, system=name)
        ours, theirs = row["x left to right"], row["x llama.cpp"]
        what = f"the same, tokens per second, {name}"
        lines += [
            line(f"{what} / our left to right in bfloat16", ">= 2.2", ours, first_number(ours) >= 2.2),
            line(f"{what} / llama.cpp", ">= 1.0", theirs, first_number(theirs) >= 1),
        ]
    pairs = {}
    for kind in ("list", "story"):
        for drafts, twin in ((PARTS, "plans"), ("drafts", "left to right")):
            for form in ("", ", w8a8, compiled"):
                of_eight = [row_of(rivals, prompts=kind, batch=8, system=name + form) for name in (drafts, twin)]
                ratio = of_eight[0]["tokens / s"] / of_eight[1]["tokens / s"]
                pairs[f"SmolLM2, {drafts}{form}, prompts for a {kind}"] = ratio
    for name in ("speculative", "parallel_speculative"):
        pairs[f"facts, {name}"] = 1 / first_number(row_of(drafted, batch=8, decoding=name)["seconds of twin"])
    lines += [
        line(f"{name}, batches of 8: speed with drafts / without", ">= 1.15", f"{ratio:.2f}", ratio >= 1.15)
        for name, ratio in pairs.items()
    ]
    for row in kept("left_to_right"):
        ours = row["ours / transformers"]
        what = f"SmolLM2, left to right, batch {row['batch']}: our tokens per second / those of transformers' generate"
        lines.append(line(what, ">= 1.0", ours, first_number(ours) >= 1))
    return lines


if __name__ == "__main__":
    print_table("Targets of drafts", target_rows())
