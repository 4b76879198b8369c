"""Evaluates a few systems: the planned decoder at several settings, beside left to right (`evaluate`)."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.table import Table

from .measure import MANY_PARTS, Evaluation, Measurement, compare_systems, measurement_stamp
from .variants import SYSTEMS, choose_systems

WIDTH_WITHOUT_TERMINAL = 150  # characters

# Header of a column -> its text for a measurement.
COLUMNS: dict[str, Callable[[Measurement], str]] = {
    "": lambda row: row.system,
    "answers right": lambda row: f"{row.answers_right:.1%}",
    "facts right": lambda row: f"{row.facts_right:.1%}",
    "forwards": lambda row: f"{row.forwards:.1f}",
    f"forwards, {MANY_PARTS}+ parts": lambda row: f"{row.many_parts_forwards:.1f}",
    "critical path": lambda row: f"{row.critical_path:.1f}",
    "tokens": lambda row: f"{row.tokens:.1f}",
    "tokens run": lambda row: f"{row.tokens_run:.0f}",
    "ms per answer": lambda row: f"{row.seconds * 1000:.0f}",
}


def evaluate_systems(evaluation: Evaluation, decoding: str | None = None) -> list[Measurement]:
    """Measure every system, or those of one decoder; print a table or JSON, and return the rows.

    Raises:
        ValueError: no system uses that decoder.
    """
    chosen = choose_systems(SYSTEMS, decoding)
    model, tokenizer = evaluation.load()
    measurements = compare_systems(model, tokenizer, evaluation.questions, evaluation.batch_size, chosen)
    environment = measurement_stamp(model, evaluation.batch_size)
    if evaluation.as_json:
        print_json(environment, {"results": measurements})
    else:
        print_table(systems_table(measurements), environment)
    return measurements


def systems_table(measurements: Sequence[Measurement]) -> Table:
    """Return a table with a row per system."""
    table = Table(title=f"{measurements[0].answers} held-out facts prompts")
    for header in COLUMNS:
        table.add_column(header, justify="right" if header else "left")
    for row in measurements:
        table.add_row(*(text(row) for text in COLUMNS.values()))
    return table


def print_json(environment: Mapping[str, Any], results: Mapping[str, Sequence[Measurement]]) -> None:
    """Print the stamp and lists of measurements as one JSON object."""
    rows = {name: [asdict(row) for row in measurements] for name, measurements in results.items()}
    print(json.dumps({"stamp": dict(environment), **rows}, indent=1))


def print_table(table: Table, environment: Mapping[str, Any]) -> None:
    """Print a table with its stamp below."""
    out = Console()
    if not out.is_terminal:
        out = Console(width=WIDTH_WITHOUT_TERMINAL)
    out.print(table)
    out.print(stamp_text(environment), style="dim", highlight=False)


def stamp_text(environment: Mapping[str, Any]) -> str:
    """Return the stamp of a measurement as one line."""
    return "; ".join(f"{key}: {value}" for key, value in environment.items())
