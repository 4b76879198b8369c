"""`planned-diffusion report`: what some runs measured, as one HTML page or as Markdown for a model card."""

from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from .options import Debug, check_writable, quiet

SHOWN = 3  # answers


def report(
    runs: Annotated[
        list[Path],
        Argument(
            metavar="RUNS",
            help="Files of --keep (.jsonl) or --json (.json) of evaluate and pays, and folders of training runs.",
        ),
    ],
    out: Annotated[
        Path,
        Option("--output", "-o", metavar="FILE", help="Page to write (.html), or Markdown for a model card (.md)."),
    ] = Path("report.html"),
    answers: Annotated[int, Option(help="Number of worst, and of best, answers to show per system.")] = SHOWN,
    debug: Debug = False,
) -> None:
    """Write a report of runs: tables with intervals, charts, and the worst answers beside the best.

    The page needs no other file and no network, and suits light and dark screens.
    """
    check_writable(out, "--output")
    quiet(debug)
    from ..evaluation.report_page import spoken, write_report

    print(f"{out}: {spoken(write_report(runs, out.expanduser(), answers))}")
