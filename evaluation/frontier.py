"""Evaluates every decoder at several settings (`evaluate --all`): a table, and the frontiers as a picture.

Quality is the share of facts exactly right; the costs are forwards and seconds per answer. A system is on the frontier
when no other has at least its quality at less cost. Definitions of all numbers: measure.py. Batches answer every
prompt; the first ALONE are also answered one at a time, for their seconds (answers differ by rounding alone).
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.table import Table

from ..records.journal import Journal
from .frontier_plot import draw_plot, figure_class
from .measure import Evaluation, Measurement, compare_systems
from .parallelism_area import Area, Setting, areas_of
from .pareto import Point, undominated
from .stamp import measurement_stamp, print_json, print_tables
from .variants import VARIANTS, Systems, choose_systems

ALONE = 100  # prompts

Measure = Callable[[str, Mapping[str, Any]], tuple[Measurement, Measurement]]


def evaluate_variants(
    evaluation: Evaluation, decoding: str | None = None, plot: Path | None = None, keep: Path | None = None
) -> list[Measurement]:
    """Measure every variant, or those of one decoder, in batches and one at a time; print, draw, and return the rows.

    The rows of the batches come first, then those alone. Every result is written into `keep` at once; a run with the
    same `keep`, checkpoint, code and machine continues from there.

    Raises:
        ValueError: no variant uses that decoder, or `keep` belongs to another run.
        RuntimeError: a plot is wanted and matplotlib is missing, or `keep` cannot be written.
    """
    variants = choose_systems(VARIANTS, decoding)
    if plot is not None:
        figure_class()  # before the work, not after it
    model, tokenizer = evaluation.load()
    environment = {**measurement_stamp(model, evaluation.batch_size), "batch": f"{evaluation.batch_size} and 1"}
    questions = evaluation.questions

    def measure(name: str, fields: Mapping[str, Any]) -> tuple[Measurement, Measurement]:
        (batched,) = compare_systems(model, tokenizer, questions, evaluation.batch_size, {name: fields}, evaluation.bar)
        (alone,) = compare_systems(model, tokenizer, questions[:ALONE], 1, {f"{name}, alone": fields}, evaluation.bar)
        return batched, alone

    batched, alone = [], []
    same_run = {"model": evaluation.checkpoint, "count": evaluation.count, "date": None, "command": None}
    with Journal(keep, {**environment, **same_run}) if keep else nullcontext() as journal:
        try:
            for in_batches, one_at_a_time in measure_variants(variants, measure, journal):
                batched.append(in_batches)
                alone.append(one_at_a_time)
        finally:  # an interrupted run reports the variants that are finished
            if batched:
                report_variants(evaluation, batched, alone, environment, plot)
    return [*batched, *alone]


def measure_variants(
    variants: Systems, measure: Measure, journal: Journal | None
) -> Iterator[tuple[Measurement, Measurement]]:
    """Yield (in batches, alone) of every variant; the journal's variants are not measured again."""
    kept = {entry["hash"]: entry["rows"] for entry in journal.entries(len(VARIANTS))} if journal is not None else {}
    for name, fields in variants.items():
        fingerprint = json.dumps([name, fields])
        if fingerprint not in kept:
            batched, alone = measure(name, fields)
            kept[fingerprint] = [asdict(batched), {**asdict(alone), "system": name}]
            if journal is not None:
                index = list(VARIANTS).index(name)
                journal.append({"index": index, "hash": fingerprint, "rows": kept[fingerprint]})
        batched, alone = (Measurement(**row) for row in kept[fingerprint])
        yield batched, alone


def report_variants(
    evaluation: Evaluation,
    batched: Sequence[Measurement],
    alone: Sequence[Measurement],
    environment: Mapping[str, Any],
    plot: Path | None,
) -> None:
    """Print the measurements as a table or JSON, and draw them."""
    areas = areas_of(settings_of(batched, alone))
    if evaluation.as_json:
        print_json(environment, {"results": batched, "results_alone": alone, "areas": areas})
    else:
        print_tables([frontier_table(batched, alone, evaluation.batch_size), area_table(areas)], environment)
    if plot is not None:
        draw_plot(points_of(batched, alone), "facts right", environment, plot)


def points_of(batched: Sequence[Measurement], alone: Sequence[Measurement]) -> list[Point]:
    """Return a point per system; rows of the same place in both lists belong to the same system."""
    return [
        Point(row.system, VARIANTS[row.system]["decoding"], row.facts_right, row.forwards, one.seconds, row.seconds)
        for row, one in zip(batched, alone, strict=True)
    ]


def settings_of(batched: Sequence[Measurement], alone: Sequence[Measurement]) -> list[Setting]:
    """Return every system as a setting of its decoder; rows of the same place belong to the same system."""
    return [
        Setting(VARIANTS[row.system]["decoding"], row.tokens / row.forwards, 100 * row.facts_right, one.seconds)
        for row, one in zip(batched, alone, strict=True)
    ]


def area_table(areas: Sequence[Area]) -> Table:
    """Return a table with a row per decoder: its area, and its least seconds beside it."""
    table = Table(title="AUP: accuracy (facts right, %) under parallelism (tokens per forward), arXiv 2601.07568")
    for header in ("", "AUP", "settings that count", "most tokens / forward", "least ms alone"):
        table.add_column(header, justify="right" if header else "left")
    for one in areas:
        counted, total = one.settings
        row = (f"{one.area:.0f}", f"{counted} of {total}", f"{one.most_parallel:.1f}", f"{one.seconds * 1000:.0f}")
        table.add_row(one.decoding, *row)
    return table


def frontier_table(batched: Sequence[Measurement], alone: Sequence[Measurement], batch_size: int) -> Table:
    """Return a table with a row per system; * marks the frontier of facts right and forwards."""
    best = {point.system for point in undominated(points_of(batched, alone), "forwards")}
    table = Table(title=f"{batched[0].answers} held-out facts prompts; * no other is better at fewer forwards")
    headers = (
        "", "facts right", "answers right", "forwards", "critical path", "tokens / forward", "tokens run", "ms alone",
        f"ms, batch {batch_size}",
    )  # fmt: skip
    for header in headers:
        table.add_column(header, justify="right" if header else "left")
    for row, one in zip(batched, alone, strict=True):
        table.add_row(
            row.system + (" *" if row.system in best else ""),
            f"{row.facts_right:.1%}",
            f"{row.answers_right:.1%}",
            f"{row.forwards:.1f}",
            f"{row.critical_path:.1f}",
            f"{row.tokens / row.forwards:.2f}",
            f"{row.tokens_run:.0f}",
            f"{one.seconds * 1000:.0f}",
            f"{row.seconds * 1000:.0f}",
        )
    return table
