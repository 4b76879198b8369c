"""The report of `pays`: both ways side by side with intervals, and the verdict, as tables or as one JSON object."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.table import Table

from .bootstrap import Estimate
from .pays_figures import Comparison, Sides
from .stamp import WIDTH_WITHOUT_TERMINAL, print_tables
from .text_figures import TextMeasurement, summarise_text
from .text_report import shown
from .verdict import Verdict

# Header of a column -> figure of a measurement, and the format of its numbers.
SIDE_BY_SIDE = {
    "planned": ("planned", ".0%"),
    "parts": ("parts", ".1f"),
    "critical path": ("critical_path", ".1f"),
    "forwards": ("forwards", ".1f"),
    "tokens": ("tokens", ".0f"),
    "seconds": ("seconds", ".2f"),
    "log-likelihood / token": ("log_likelihood", ".3f"),
    "repeated 3-grams": ("repeated", ".1%"),
    "twin parts": ("twin_parts", ".1%"),
}
RATIOS = ("seconds", "forwards", "critical_path", "tokens")


def report_pays(sides: Sides, verdict: Verdict, stamp: Mapping[str, Any], as_json: bool = False) -> None:
    """Print both ways side by side and then the verdict, or all of it as one JSON object."""
    groups = [*sides.left_to_right.values(), *sides.planners.values()]
    rows = [summarise_text(answers) for answers in groups]
    compared = sides.compared()
    if as_json:
        result = {"verdict": asdict(verdict), "reference": sides.reference, "stamp": dict(stamp)}
        lists = {"compared": [asdict(row) for row in compared], "results": [asdict(row) for row in rows]}
        print(json.dumps({**result, **lists}, indent=1))
        return
    print_tables([side_by_side(rows), beside_reference(compared, sides.reference)], stamp)
    out = Console()
    out = out if out.is_terminal else Console(width=WIDTH_WITHOUT_TERMINAL)
    out.print(verdict.sentence, markup=False, highlight=False)


def side_by_side(rows: Sequence[TextMeasurement]) -> Table:
    """Return a table with a row per system."""
    table = Table(title=f"{rows[0].answers} prompts, {_batch(rows[0])}; per answer, with 95 % intervals over prompts")
    table.add_column("")
    for header in SIDE_BY_SIDE:
        table.add_column(header, justify="right")
    for row in rows:
        table.add_row(row.system, *(shown(row.figures[name], number) for name, number in SIDE_BY_SIDE.values()))
    return table


def beside_reference(compared: Sequence[Comparison], reference: str) -> Table:
    """Return a table with a row per planner: its ratios to the reference on the same prompts."""
    table = Table(title=f"planners over {reference}, the faster way left to right, on the same prompts")
    table.add_column("")
    for name in RATIOS:
        table.add_column(name.replace("_", " "), justify="right")
    table.add_column("log-likelihood of planned answers, difference", justify="right")
    for row in compared:
        ratios: list[Estimate] = [getattr(row, name) for name in RATIOS]
        table.add_row(row.system, *(shown(one, ".2f") for one in ratios), shown(row.likelihood, "+.3f"))
    return table


def _batch(row: TextMeasurement) -> str:
    return "one at a time" if row.batch_size == 1 else f"in batches of {row.batch_size}"
