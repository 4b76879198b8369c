"""Print a study, and write it as JSON and as Markdown."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.table import Table

from .bootstrap import Estimate
from .parallelism_area import Area
from .stamp import print_tables, stamp_text
from .study_findings import Judged, StudyResult, StudyRow

# Figure -> the format of its numbers.
FORMATS = {
    "facts right": ".1%", "answers right": ".1%", "forwards": ".1f", "critical path": ".1f", "tokens": ".0f",
    "tokens / forward": ".2f", "tokens run": ".0f", "plan tokens": ".1f", "rounds": ".2f", "room used": ".0%",
    "seconds": ".3f",
}  # fmt: skip
SHOWN = ("facts right", "answers right", "forwards", "tokens / forward", "tokens run", "room used", "seconds")
Cells = Mapping[str, str]  # header of a column -> text


def print_study(result: StudyResult, as_json: bool = False) -> None:
    """Print a study as tables or as one JSON object."""
    if as_json:
        print(json.dumps(study_json(result), indent=1))
        return
    tables = []
    for title, rows in tables_of(result).items():
        table = Table(title=title)
        for header in rows[0]:
            table.add_column(header, justify="right" if header in FORMATS else "left")
        for row in rows:
            table.add_row(*row.values())
        tables.append(table)
    print_tables(tables, result.stamp)


def write_study(result: StudyResult, folder: Path) -> None:
    """Write a study into a folder, as NAME.json and NAME.md."""
    found = json.dumps(study_json(result), indent=1) + "\n"
    (folder / f"{result.name}.json").write_text(found, encoding="utf-8")
    (folder / f"{result.name}.md").write_text(study_markdown(result), encoding="utf-8")


def study_json(result: StudyResult) -> dict[str, Any]:
    """Return a study as plain JSON, in the form that `report` reads."""
    return {
        "stamp": dict(result.stamp),
        "study": result.name,
        "question": result.question,
        "results": [_flat(row) for row in result.rows],
        "by_kind": [_flat(row) for row in result.by_kind],
        "findings": [asdict(one) for one in result.findings],
        "areas": [asdict(one) for one in result.areas],
    }


def study_markdown(result: StudyResult) -> str:
    """Return a study as Markdown: its question, tables, and the stamp."""
    parts = [f"# Study: {result.name}", result.question]
    for title, rows in tables_of(result).items():
        lines = [list(rows[0]), ["---"] * len(rows[0]), *(list(row.values()) for row in rows)]
        parts += [f"## {title}", "\n".join(f"| {' | '.join(line)} |" for line in lines)]
    return "\n\n".join([*parts, f"![{result.name}]({result.name}.png)", stamp_text(result.stamp)]) + "\n"


def tables_of(result: StudyResult) -> dict[str, list[Cells]]:
    """Return the tables of a study by their titles; those without a row are left out."""
    count = result.rows[0].answers if result.rows else 0
    tables = {
        f"{count} questions; 95 % intervals over them": [_row_cells(row) for row in result.rows],
        "By kind of question": [{"kind": row.kind or "", **_row_cells(row)} for row in result.by_kind],
        "Findings": [_finding_cells(one) for one in result.findings],
        "AUP: accuracy under parallelism": [_area_cells(one) for one in result.areas],
    }
    return {title: rows for title, rows in tables.items() if rows}


def interval_text(one: Estimate | None, form: str) -> str:
    """Return an estimate with its interval on one line; a dash where there is none."""
    return "-" if one is None else f"{one.value:{form}} ({one.low:{form}} to {one.high:{form}})"


def _flat(row: StudyRow) -> dict[str, Any]:
    figures = {name: None if one is None else asdict(one) for name, one in row.figures.items()}
    return {"system": row.system, "answers": row.answers, **({"kind": row.kind} if row.kind else {}), **figures}


def _row_cells(row: StudyRow) -> dict[str, str]:
    return {"system": row.system, **{name: interval_text(row.figures[name], FORMATS[name]) for name in SHOWN}}


def _finding_cells(one: Judged) -> Cells:
    form = "+.1%" if one.how == "difference" else ".2f"
    on = f", {one.kind}" if one.kind else ""
    return {
        "finding": one.says,
        "that is": f"{one.figure}{on}: {one.system} {one.expected} than {one.than}",
        "difference or ratio": interval_text(one.change, form),
        "verdict": one.verdict,
    }


def _area_cells(one: Area) -> Cells:
    counted, total = one.settings
    return {
        "decoder": one.decoding,
        "AUP": f"{one.area:.0f}",
        "settings that count": f"{counted} of {total}",
        "most tokens / forward": f"{one.most_parallel:.1f}",
        "least seconds": f"{one.seconds:.3f}",
    }
