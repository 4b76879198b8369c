"""`planned-diffusion annotate`: make training records with plans; a progress bar, and the report as a table."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from typer import Argument, Option

from ..records.output import beside
from .model_names import checkpoint_of
from .options import Model, Output, quiet

if TYPE_CHECKING:
    from ..annotation.pipeline import AnnotationJob, Annotator

ANNOTATORS = ("structure", "llm")
WIDTH_WITHOUT_TERMINAL = 120  # characters


@dataclass(frozen=True)
class Planning:
    """Options for how answers are planned."""

    annotator: Annotated[
        str, Option(metavar="NAME", help="structure: plans from the answer's own structure, offline; llm: an endpoint.")
    ] = "structure"
    model: Model = None
    unit: Annotated[int | None, Option(help="Tokens per length unit; default: the model's own.")] = None
    plain: Annotated[str, Option(metavar="keep|drop", help="Keep or drop answers that are not split.")] = "keep"
    thoughts: Annotated[
        str, Option(metavar="keep|drop", help="Keep or drop <think> ... </think> before answers; kept, it is a round.")
    ] = "keep"
    min_gain: Annotated[
        str,
        Option(
            metavar="X|none",
            help="Plan an answer only where its ideal critical path is at most this share of its length; none: always.",
        ),
    ] = "0.7"
    max_spans: Annotated[int, Option(help="Spans that a round may have, at most.")] = 16


@dataclass(frozen=True)
class Rows:
    """Options for the rows that are read."""

    split: Annotated[str, Option(help="Dataset split; Hub datasets only.")] = "train"
    limit: Annotated[int | None, Option(help="Number of rows to read, from the first; default: all.")] = None


@dataclass(frozen=True)
class Asking:
    """Options for asking a language model, with --annotator llm."""

    panel: ClassVar[str] = "With --annotator llm"
    llm: Annotated[str, Option(metavar="NAME", help="Model that is asked; its key is read from OPENAI_API_KEY.")] = ""
    endpoint: Annotated[
        str | None, Option(metavar="URL", help="OpenAI-compatible server to ask; default: OpenAI's.")
    ] = None
    concurrency: Annotated[int, Option(help="Requests that run at a time.")] = 8
    temperature: Annotated[
        str, Option(metavar="X|none", help="Temperature of the replies; none: not sent, for servers that take none.")
    ] = "0"
    system: Annotated[
        bool, Option("--system/--no-system", help="Send the instructions as a system message, or as the user's words.")
    ] = True
    price: Annotated[
        tuple[float, float] | None, Option(help="Price per million prompt and completion tokens, for the report.")
    ] = None
    estimate: Annotated[bool, Option("--estimate", help="Only print how many tokens asking would take.")] = False


def annotate(
    source: Annotated[
        str, Argument(metavar="IN", help="JSONL(.gz), JSON, Parquet, a Hub dataset as owner/name; - is standard input.")
    ],
    out: Annotated[Path, Argument(metavar="OUT", help="JSONL file of records to write.")],
    planning: Planning,
    rows: Rows,
    asking: Asking,
    output: Output,
) -> None:
    """Turn ordinary question/answer data into training records with plans.

    Resumable: run the same command again after an interruption.
    """
    folder = checkpoint_of(planning.model, output.debug)
    quiet(output.debug)
    from rich.progress import MofNCompleteColumn

    from ..annotation.llm import estimate
    from ..annotation.outcomes import records
    from ..annotation.pipeline import AnnotationJob, annotate_file
    from ..annotation.reading import open_source
    from .progress import progress_bar

    annotator = annotator_of(planning, asking)
    if asking.estimate:
        print(json.dumps(estimate(records(open_source(source, rows.split, rows.limit), planning.thoughts == "drop"))))
        return
    job = AnnotationJob(
        source=source,
        out=out,
        folder=folder,
        unit=planning.unit,
        annotator=planning.annotator,
        plain=planning.plain,
        thoughts=planning.thoughts,
        split=rows.split,
        limit=rows.limit,
        most_spans=planning.max_spans,
        llm=asking.llm,
        price=asking.price,
        min_gain=read_number("min_gain", planning.min_gain),
    )
    finished = 0
    with progress_bar("annotating", MofNCompleteColumn()) as show:

        def advance(count: int, total: int) -> None:
            nonlocal finished
            finished += count
            show(finished, total)

        report = annotate_file(job, annotator, advance)
    print_report(report, job, output.as_json)


def annotator_of(planning: Planning, asking: Asking) -> "Annotator | None":
    """Return the annotator that asks an endpoint, or None for the structure annotator.

    Raises:
        ValueError: there is no such annotator, or the endpoint's options cannot be used.
    """
    if planning.annotator not in ANNOTATORS:
        raise ValueError(f"There is no annotator {planning.annotator!r}; choose {' or '.join(ANNOTATORS)}.")
    if planning.annotator == "structure":
        return None
    from functools import partial

    from ..annotation.llm import ask_all
    from ..annotation.llm_endpoint import Endpoint, check_endpoint
    from ..annotation.llm_request import Form

    form = Form(read_number("temperature", asking.temperature), asking.system)
    endpoint = Endpoint(asking.llm, asking.endpoint, asking.concurrency, form=form)
    check_endpoint(endpoint)
    return partial(ask_all, endpoint=endpoint, most_spans=planning.max_spans)


def read_number(name: str, text: str) -> float | None:
    """Return the number of an option that may be "none", which is None.

    Raises:
        ValueError: neither a number nor "none".
    """
    try:
        return None if text.lower() == "none" else float(text)
    except ValueError as error:
        raise ValueError(f"{name} is {text!r}; give a number of at least 0, or none.") from error


def print_report(report: dict[str, Any], job: "AnnotationJob", as_json: bool) -> None:
    """Print a report as a table with the paths of the files, or as JSON."""
    if as_json:
        print(json.dumps(report))
        return
    from rich.console import Console

    from ..annotation.report import report_table

    out = Console()
    out = out if out.is_terminal else Console(width=WIDTH_WITHOUT_TERMINAL)
    out.print(report_table(report))
    out.print(f"{job.out}, {beside(job.out, '.report.json')}", highlight=False, soft_wrap=True)
    if report["refused"]:
        out.print(f"refused, with reasons: {beside(job.out, '.refused.jsonl')}", highlight=False, soft_wrap=True)
