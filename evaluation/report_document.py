"""Arrange runs as a document of tables, charts and answers; knows neither HTML nor Markdown."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .report_cases import Cases, answer_cases, sample_cases
from .report_runs import FigureRows, ReportedRun
from .text_report import COSTS, PLANS, QUALITY

TRAINED = ("loss", "plan_loss", "span_loss", "plain_loss", "next_token_loss", "draft_loss", "eval_loss")
QUALITIES = {"log_likelihood": "log-likelihood per token", "facts_right": "facts right"}
# Figures of facts (measure.py) -> header and format.
PLAIN_COLUMNS = {
    "facts_right": ("facts right", ".1%"), "answers_right": ("answers right", ".1%"), "forwards": ("forwards", ".1f"),
    "critical_path": ("critical path", ".1f"), "tokens": ("tokens", ".1f"), "tokens_run": ("tokens run", ".0f"),
    "seconds": ("seconds", ".3f"),
}  # fmt: skip


@dataclass(frozen=True)
class Cell:
    """A number as text, and its interval, which may be empty."""

    value: str
    interval: str = ""


@dataclass(frozen=True)
class ReportTable:
    """A table: a title, headers, and per row a name and its cells."""

    title: str
    headers: Sequence[str]
    rows: Sequence[tuple[str, Sequence[Cell]]]


@dataclass(frozen=True)
class Spot:
    """A point of a chart with its intervals; low and high are the value itself where there is none."""

    name: str
    x: tuple[float, float, float]
    y: tuple[float, float, float]


@dataclass(frozen=True)
class Chart:
    """A chart of points, or of lines where `lines` has any."""

    title: str
    x: str
    y: str
    spots: Sequence[Spot] = ()
    lines: Mapping[str, Sequence[tuple[float, float]]] | None = None

    @property
    def names(self) -> list[str]:
        """Return the names of the points or lines, in the order of their numbers."""
        return list(self.lines) if self.lines else [spot.name for spot in self.spots]


@dataclass(frozen=True)
class Section:
    """Everything about one run."""

    name: str
    stamp: Mapping[str, Any]
    verdict: str
    tables: Sequence[ReportTable]
    charts: Sequence[Chart]
    cases: Sequence[Cases]


def section_of(run: ReportedRun, shown: int) -> Section:
    """Return the section of a run, with the `shown` worst and best answers per system."""
    charts = [chart for one in run.figures for chart in _frontiers(one)]
    tables = [table for one in run.figures for table in _tables(one)]
    if run.log:
        charts.append(_losses(run.log))
        tables.append(_log_table(run.log))
    cases = answer_cases(run.answers, shown)
    if run.samples:
        cases.append(sample_cases(run.samples, shown))
    return Section(run.name, run.stamp, run.verdict, [t for t in tables if t.rows], [c for c in charts if c], cases)


def _tables(figures: FigureRows) -> list[ReportTable]:
    """Return the tables of some figures: with intervals by subject, or one of plain numbers."""
    if not figures.rows or "figures" not in figures.rows[0]:
        columns = {name: column for name, column in PLAIN_COLUMNS.items() if any(name in row for row in figures.rows)}
        rows = [
            (str(row["system"]), [_cell(row.get(name), c[1]) for name, c in columns.items()]) for row in figures.rows
        ]
        return [ReportTable(f"figures, {figures.how}", [header for header, _ in columns.values()], rows)]
    subjects = {
        "costs": {**COSTS, "seconds": ("seconds", ".2f")},
        "text": QUALITY,
        "plans": PLANS,
    }
    tables = []
    for subject, columns in subjects.items():
        used = {
            header: column
            for header, column in columns.items()
            if any(row["figures"].get(column[0]) for row in figures.rows)
        }
        rows = [
            (str(row["system"]), [_cell(row["figures"].get(name), number) for name, number in used.values()])
            for row in figures.rows
        ]
        count = figures.rows[0]["answers"]
        title = f"{subject}, {count} prompts {figures.how}, 95 % intervals over prompts"
        tables.append(ReportTable(title, list(used), rows if used else []))
    return tables


def _cell(found: Mapping[str, float] | float | None, number: str) -> Cell:
    """Return an estimate or a plain number as text."""
    if found is None:
        return Cell("–")
    if isinstance(found, Mapping):
        return Cell(f"{found['value']:{number}}", f"{found['low']:{number}} to {found['high']:{number}}")
    return Cell(f"{found:{number}}")


def _frontiers(figures: FigureRows) -> list[Chart]:
    """Return charts of quality against forwards and against seconds, where there is a quality."""
    charts = []
    for quality, label in QUALITIES.items():
        for cost in ("forwards", "seconds"):
            spots = [
                Spot(str(row["system"]), x, y)
                for row in figures.rows
                if (x := _three(row, cost)) is not None and (y := _three(row, quality)) is not None
            ]
            if spots:
                title = f"{label} against {cost}, {figures.how}"
                charts.append(Chart(title, f"{cost} per answer", label, spots))
    return charts


def _three(row: Mapping[str, Any], name: str) -> tuple[float, float, float] | None:
    """Return a figure as (value, low, high); None where a row has none."""
    found = row.get("figures", row).get(name)
    if found is None:
        return None
    return (found["value"], found["low"], found["high"]) if isinstance(found, Mapping) else (found, found, found)


def _losses(log: Sequence[Mapping[str, Any]]) -> Chart:
    """Return the losses of a training run as lines."""
    lines = {
        name: [(float(entry["step"]), float(entry[name])) for entry in log if name in entry and "step" in entry]
        for name in TRAINED
    }
    return Chart("losses", "step", "nats per token", lines={name: line for name, line in lines.items() if line})


def _log_table(log: Sequence[Mapping[str, Any]]) -> ReportTable:
    """Return first, least and last values of what a training run logged."""
    rows = []
    for name in (*TRAINED, "grad_norm", "eval_well_formed", "eval_room_used"):
        values = [float(entry[name]) for entry in log if name in entry]
        if values:
            rows.append((name, [Cell(f"{value:.4g}") for value in (values[0], min(values), max(values), values[-1])]))
    return ReportTable("training", ["first", "least", "greatest", "last"], rows)
