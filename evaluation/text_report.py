"""The report of a text task: tables with intervals, one JSON object, and the frontiers as a picture."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.table import Table

from .bootstrap import Estimate
from .frontier_plot import draw_plot
from .pareto import Point, undominated
from .stamp import print_json, print_tables
from .text_answers import TextAnswer
from .text_figures import Estimates, TextMeasurement, summarise_text
from .text_settings import BASE
from .variants import VARIANTS

# Header of a column -> figure and the format of its numbers.
Columns = Mapping[str, tuple[str, str]]
COSTS: Columns = {
    "tokens": ("tokens", ".0f"),
    "forwards": ("forwards", ".1f"),
    "critical path": ("critical_path", ".1f"),
    "tokens / forward": ("tokens_per_forward", ".2f"),
    "ended by EOS": ("ended_by_eos", ".0%"),
}
PLANS: Columns = {
    "planned": ("planned", ".0%"),
    "where parts are asked": ("planned_where_parts_are_asked", ".0%"),
    "where none are": ("planned_where_no_parts_are_asked", ".0%"),
    "parts": ("parts", ".1f"),
    "rounds": ("rounds", ".2f"),
    "plan tokens": ("plan_tokens", ".1f"),
    "plan / critical path": ("plan_share", ".0%"),
    "spans ended": ("spans_ended", ".0%"),
}
DRAFTS: Columns = {
    "tokens / forward": ("tokens_per_forward", ".2f"),
    "guesses right / forward": ("drafts_accepted", ".2f"),
    "right, of the next token": ("first_guesses_right", ".0%"),
}
QUALITY: Columns = {
    "log-likelihood / token": ("log_likelihood", ".3f"),
    "repeated 3-grams": ("repeated", ".1%"),
    "within parts": ("repeated_within_parts", ".1%"),
    "between parts": ("repeated_between_parts", ".1%"),
    "twin parts": ("twin_parts", ".1%"),
}
BESIDE: Columns = {
    "forwards": ("forwards", ".2f"),
    "seconds": ("seconds", ".2f"),
    "tokens": ("tokens", ".2f"),
    "log-likelihood, difference": ("log_likelihood", "+.3f"),
}
INTERVALS = "95 % intervals over prompts"

Rows = Sequence[TextMeasurement]


def report_text(
    answers: Sequence[TextAnswer], stamp: Mapping[str, Any], as_json: bool = False, plot: Path | None = None
) -> None:
    """Print the measurements as tables or as one JSON object, and draw them."""
    sizes = dict.fromkeys(one.batch_size for one in answers)
    batched, *others = (measurements_of(answers, size) for size in sizes)
    alone = others[0] if others else batched
    if as_json:
        print_json(stamp, {"results": batched, "results_alone": alone})
    else:
        print_tables(text_tables(batched, alone), stamp)
    if plot is not None:
        draw_plot(text_points(batched, alone), "mean log-likelihood per token under the base", stamp, plot)


def measurements_of(answers: Sequence[TextAnswer], batch_size: int) -> list[TextMeasurement]:
    """Return the measurement of every system at one batch size."""
    by_system: dict[str, list[TextAnswer]] = {}
    for one in answers:
        if one.batch_size == batch_size:
            by_system.setdefault(one.system, []).append(one)
    base = by_system.get(BASE, [])
    return [summarise_text(own, [] if name == BASE else base) for name, own in by_system.items()]


def text_tables(batched: Rows, alone: Rows) -> list[Table]:
    """Return the tables that have rows: costs, drafts, quality, plans, kinds of prompts, planned beside the base."""
    seconds = {f"seconds, batch {batched[0].batch_size}": batched}
    if alone[0].batch_size != batched[0].batch_size:
        seconds["seconds alone"] = alone
    best = {point.system for point in undominated(text_points(batched, alone), "forwards")}
    costs = _table(f"{batched[0].answers} prompts, per answer; {INTERVALS}", [*COSTS, *seconds])
    for row in batched:
        timed = [_figures_in(rows, row.system).get("seconds") for rows in seconds.values()]
        costs.add_row(row.system, *_cells(row.figures, COSTS), *(shown(each, ".2f") for each in timed))
    quality = _table("text; * no other is likelier under the base at fewer forwards", QUALITY)
    for row in batched:
        quality.add_row(row.system + (" *" if row.system in best else ""), *_cells(row.figures, QUALITY))
    columns = {name: column for name, column in PLANS.items() if any(row.figures[column[0]] for row in batched)}
    plans = _table("plans; rooms: median and quartiles", [*columns, "promised", "used", "room used"])
    for row in batched:
        if row.room_used:
            rooms = (_room(row.promised, ".0f"), _room(row.used, ".0f"), _room(row.room_used, ".0%"))
            plans.add_row(row.system, *_cells(row.figures, columns), *rooms)
    columns = {kind: (kind, ".0%") for row in batched for kind in row.kinds}
    kinds = _table("share planned, by kind of prompt", columns)
    for row in batched:
        if row.room_used and columns:
            kinds.add_row(row.system, *_cells(row.kinds, columns))
    beside = _table("planned answers over those of the base to the same prompts, one at a time", BESIDE)
    for row in alone:
        if any(row.beside_base.values()):
            beside.add_row(row.system, *_cells(row.beside_base, BESIDE))
    return [table for table in (costs, _drafts(batched), quality, plans, kinds, beside) if table.row_count]


def _drafts(batched: Rows) -> Table:
    """Return the table of the systems that made drafts."""
    drafts = _table("drafts: guesses of the forward before, checked", DRAFTS)
    for row in batched:
        if row.figures["drafts_accepted"]:
            drafts.add_row(row.system, *_cells(row.figures, DRAFTS))
    return drafts


def text_points(batched: Rows, alone: Rows) -> list[Point]:
    """Return a point per system that was scored: log-likelihood per token against forwards and seconds per answer."""
    points = []
    for row in batched:
        quality, forwards, seconds = (row.figures[name] for name in ("log_likelihood", "forwards", "seconds"))
        one = _figures_in(alone, row.system).get("seconds")
        if quality and forwards and seconds:
            decoding = VARIANTS[row.system]["decoding"] if row.system in VARIANTS else row.system
            seconds_alone = one.value if one else float("nan")
            points.append(Point(row.system, decoding, quality.value, forwards.value, seconds_alone, seconds.value))
    return points


def shown(estimate: Estimate | None, number: str) -> str:
    """Return an estimate as text, with its interval below; a dash where there is none."""
    return "-" if estimate is None else _two_lines(estimate.value, estimate.low, estimate.high, number)


def _table(title: str, headers: Sequence[str] | Columns) -> Table:
    table = Table(title=title)
    table.add_column("")
    for header in headers:
        table.add_column(header, justify="right")
    return table


def _cells(figures: Estimates, columns: Columns) -> list[str]:
    return [shown(figures.get(name), number) for name, number in columns.values()]


def _figures_in(rows: Rows, system: str) -> Estimates:
    return next((row.figures for row in rows if row.system == system), {})


def _room(quartiles: tuple[float, ...], number: str) -> str:
    low, median, high = quartiles
    return _two_lines(median, low, high, number)


def _two_lines(value: float, low: float, high: float, number: str) -> str:
    return f"{value:{number}}\n[dim]{low:{number}}, {high:{number}}[/dim]"
