"""What `planned-diffusion annotate` does with its arguments: a progress bar, the annotation, the report as a table."""

import json
from contextlib import contextmanager
from functools import partial

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from ..annotation.llm import Endpoint, ask_all, check_endpoint, estimate
from ..annotation.outcomes import records
from ..annotation.pipeline import AnnotationJob, annotate_file
from ..annotation.reading import open_source
from ..annotation.report import report_table
from ..records.output import beside

ANNOTATORS = ("structure", "llm")
WIDTH_OF_A_FILE = 120  # characters, where no terminal says how wide it is


def annotate(job: AnnotationJob, endpoint: Endpoint, only_estimate: bool = False, as_json: bool = False) -> None:
    """Runs a job and prints its report, or, with `only_estimate`, what asking the endpoint would take.

    Raises:
        ValueError, RuntimeError: as `pipeline.annotate_file` and `llm.ask_all`.
    """
    if job.annotator not in ANNOTATORS:
        raise ValueError(f"There is no annotator {job.annotator!r}; choose {' or '.join(ANNOTATORS)}.")
    ask = None
    if job.annotator == "llm":
        check_endpoint(endpoint)
        ask = partial(ask_all, endpoint=endpoint, most_spans=job.most_spans)
    if only_estimate:
        print(json.dumps(estimate(records(open_source(job.source, job.split, job.limit)))))
        return
    with _progress() as show:
        report = annotate_file(job, ask, show)
    if as_json:
        print(json.dumps(report))
        return
    out = Console()
    out = out if out.is_terminal else Console(width=WIDTH_OF_A_FILE)
    out.print(report_table(report))
    out.print(f"{job.out}, {beside(job.out, '.report.json')}", highlight=False, soft_wrap=True)
    if report["refused"]:
        out.print(f"refused, with reasons: {beside(job.out, '.refused.jsonl')}", highlight=False, soft_wrap=True)


@contextmanager
def _progress():
    """Yields `show(finished, total)`, which moves a progress bar where there is a terminal."""
    console = Console(stderr=True)
    columns = (TextColumn("annotating"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task("annotating", total=None)

        def show(finished: int, total: int) -> None:
            progress.update(task, advance=finished, total=total)

        yield show
