"""Write a report: one HTML file that needs nothing else, or Markdown for a model card; texts in it stay texts."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from .charts_svg import draw_chart
from .report_cases import Case
from .report_document import ReportTable, Section, section_of
from .report_runs import GIVE, read_run
from .stamp import stamp_text

TITLE = "Report"
FORMATS = (".html", ".md")
JOINERS = "\u200c\u200d"  # which letters and emoji are made of
MARKUP = re.compile(r"([\\`*_{}\[\]<>()#+\-.!|~$&@:])")


def write_report(runs: Sequence[Path], out: Path, shown: int) -> list[Section]:
    """Write a report of runs as HTML or Markdown, as the name of `out` ends; return its sections.

    Args:
        shown: number of worst and of best answers per system.

    Raises:
        ValueError: another ending, a number below 1, or a file or folder that holds no run.
    """
    if out.suffix.lower() not in FORMATS:
        raise ValueError(f"{out} ends in {out.suffix or 'nothing'}; give a file that ends in {' or '.join(FORMATS)}.")
    if shown < 1:
        raise ValueError(f"answers is {shown}; give 1 or more.")
    sections = [harmless(read_section(path, shown)) for path in runs]
    text = as_html(sections) if out.suffix.lower() == ".html" else as_markdown(sections)
    out.write_text(text, encoding="utf-8")
    return sections


def read_section(path: Path, shown: int) -> Section:
    """Return the section of a run.

    Raises:
        ValueError: a file or folder that holds no run.
    """
    try:
        return section_of(read_run(path), shown)
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} is no run that can be reported ({error!r} in it); {GIVE}.") from error


def as_html(sections: Sequence[Section]) -> str:
    """Return a page that needs no other file and no network; a browser is told to load nothing."""
    loader = FileSystemLoader(Path(__file__).parent)
    page = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    page.filters["drawn"] = lambda chart: Markup(draw_chart(chart))
    return page.get_template("report.html.jinja").render(title=TITLE, sections=sections)


def as_markdown(sections: Sequence[Section]) -> str:
    """Return sections as Markdown: tables, stamps, and the worst and best answers; charts are left out."""
    return "\n".join(line for section in sections for line in _section_lines(section)).rstrip() + "\n"


def _section_lines(section: Section) -> list[str]:
    lines = [f"## {escaped(section.name)}", ""]
    if section.verdict:
        lines += [escaped(section.verdict), ""]
    for table in section.tables:
        lines += [*_table_lines(table), ""]
    if section.stamp:
        lines += [escaped(stamp_text(section.stamp)), ""]
    for cases in section.cases:
        for heading, chosen in (("Worst", cases.worst), ("Best", cases.best)):
            if chosen:
                lines += [f"### {heading} answers of {escaped(cases.system)}, by {escaped(cases.measure)}", ""]
            for case in chosen:
                lines += _case_lines(case)
    return lines


def _table_lines(table: ReportTable) -> list[str]:
    rows = [[escaped(name), *(f"{c.value} ({c.interval})" if c.interval else c.value for c in cells)]
            for name, cells in table.rows]  # fmt: skip
    header = [escaped(table.title), *map(escaped, table.headers)]
    return [f"| {' | '.join(row)} |" for row in (header, ["---"] * len(header), *rows)]


def _case_lines(case: Case) -> list[str]:
    told = "; ".join(f"{name} {value}" for name, value in case.figures.items())
    plan = [f"plan: {line}" for line in case.plan]
    return [*fenced(case.prompt), "", *fenced(case.text), "", escaped("; ".join([told, *plan])), ""]


def fenced(text: str) -> list[str]:
    """Return a text as a block of code, with a fence that it does not hold itself."""
    longest = max((len(found) for found in re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return [f"{fence}text", *text.split("\n"), fence]


def escaped(text: str) -> str:
    """Return a text as one line of Markdown that shows it as it is."""
    return MARKUP.sub(r"\\\1", " ".join(text.split()))


def harmless(value: Any) -> Any:  # noqa: ANN401
    """Return a value of dataclasses, lists and texts whose texts have no control or formatting characters.

    They could hide text or turn it around; line breaks and tabs stay, and so do the joiners of letters.
    """
    if isinstance(value, str):
        return "".join(one if one.isprintable() or one in "\n\t" or one in JOINERS else "\ufffd" for one in value)
    if isinstance(value, Mapping):
        return {harmless(key): harmless(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(harmless(one) for one in value)
    if is_dataclass(value) and not isinstance(value, type):
        return replace(value, **{one.name: harmless(getattr(value, one.name)) for one in fields(value)})
    return value


def spoken(sections: Sequence[Section]) -> str:
    """Return what a report holds, in a few words."""
    tables, charts = sum(len(one.tables) for one in sections), sum(len(one.charts) for one in sections)
    answers = sum(len(cases.worst) + len(cases.best) for one in sections for cases in one.cases)
    return f"{len(sections)} runs, {tables} tables, {charts} charts, {answers} answers"
