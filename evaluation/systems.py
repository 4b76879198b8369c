"""Evaluates a few systems: the planned decoder at several settings, beside left to right (`evaluate`)."""

from collections.abc import Callable, Sequence

from rich.table import Table

from .measure import MANY_PARTS, Evaluation, Measurement, compare_systems
from .stamp import measurement_stamp, print_json, print_tables
from .variants import SYSTEMS, choose_systems

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
    measurements = compare_systems(
        model, tokenizer, evaluation.questions, evaluation.batch_size, chosen, evaluation.bar
    )
    environment = measurement_stamp(model, evaluation.batch_size)
    if evaluation.as_json:
        print_json(environment, {"results": measurements})
    else:
        print_tables([systems_table(measurements)], environment)
    return measurements


def systems_table(measurements: Sequence[Measurement]) -> Table:
    """Return a table with a row per system."""
    table = Table(title=f"{measurements[0].answers} held-out facts prompts")
    for header in COLUMNS:
        table.add_column(header, justify="right" if header else "left")
    for row in measurements:
        table.add_row(*(text(row) for text in COLUMNS.values()))
    return table
