"""`planned-diffusion annotate`: from ordinary question/answer data to records with plans.

    1. open the source and check every row               reading.py, schemas.py
    2. plan each answer                                  structure.py, or llm.py through an endpoint
    3. tag, count and check, or refuse                   outcomes.py, tagging.py
    4. keep every finished record in OUT.partial         records/journal.py
    5. when all are done: OUT.refused.jsonl, OUT.report.json, OUT.report.png, and last of all OUT    assembly.py

A run that was stopped goes on where it was when the same command is given again.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from ..records.journal import Journal
from ..records.output import beside, make_place_for
from .assembly import write_outputs
from .gain import check_min_gain
from .outcomes import Asked, Refused, finished, records
from .reading import Source, open_source
from .structure import LEAST_SPANS, MOST_SPANS, Annotation, annotate_by_structure
from .tagging import TokenCounter

CHUNK = 256  # records planned, counted and written together
KEEP_OR_DROP = ("keep", "drop")
LEAST = {"limit": 1, "most_spans": LEAST_SPANS, "unit": 1}  # field of a job -> its smallest value

Advance = Callable[[int], None]  # called with the number of records just finished
Annotator = Callable[[Iterator[Asked | Refused], Journal, TokenCounter, Advance], None]  # writes the records' entries


@dataclass(frozen=True)
class AnnotationJob:
    """A file to annotate and how.

    source: a file, or a dataset of the Hub; split: of such a dataset.
    out: the file to write.
    folder: of the tokenizer; unit: tokens per length unit, by default as the folder's configuration says.
    annotator: "structure" or "llm"; llm: the model that is asked.
    plain: "keep" or "drop" the answers without a plan.
    thoughts: "keep" or "drop" the thoughts before answers (thought.py).
    limit: the number of rows to read, by default all.
    most_spans: of a round.
    price: per million prompt and completion tokens, for the report.
    min_gain: the largest ideal critical path of a plan, as a share of the plain length (gain.py); None keeps every
        plan, and the command line asks for 0.7.
    """

    source: str
    out: Path
    folder: str
    unit: int | None = None
    annotator: str = "structure"
    plain: str = "keep"
    split: str = "train"
    limit: int | None = None
    most_spans: int = MOST_SPANS
    llm: str = ""
    price: tuple[float, float] | None = None
    thoughts: str = "keep"
    min_gain: float | None = None


def check_annotation_job(job: AnnotationJob) -> None:
    """Raise ValueError where a job cannot end well, before work is put into it."""
    for name in ("plain", "thoughts"):
        if getattr(job, name) not in KEEP_OR_DROP:
            raise ValueError(f"{name} is {getattr(job, name)!r}; choose keep or drop.")
    for name, least in LEAST.items():
        value = getattr(job, name)
        if value is not None and value < least:
            raise ValueError(f"{name} is {value}; give {least} or more.")
    check_min_gain(job.min_gain)
    make_place_for(job.out)


def annotate_file(
    job: AnnotationJob, annotator: Annotator | None = None, show: Callable[[int, int], None] | None = None
) -> dict[str, Any]:
    """Annotate a source into `job.out` and return the report.

    Args:
        annotator: plans records and writes their entries; by default the structure annotator.
        show: called with (records just finished, records in all), at the start and whenever there are more.

    Raises:
        ValueError: bad input or settings.
        RuntimeError: a failing endpoint or disk; all finished records are kept.
    """
    check_annotation_job(job)
    source = open_source(job.source, job.split, job.limit)
    counter = counter_of(job.folder, job.unit)
    annotator = annotator or partial(annotate_with, planned=partial(planned_by_structure, most_spans=job.most_spans))

    def advance(count: int) -> None:
        if show is not None:
            show(count, source.count)

    drop = job.thoughts == "drop"
    with Journal(beside(job.out, ".partial"), _header(job, counter.unit)) as journal:
        _check_limit(job, journal)
        missing = (one for one in records(source, drop) if not journal.is_done(one.index, one.fingerprint))
        advance(source.count - _count_missing(source, journal))
        annotator(missing, journal, counter, advance)
        report = write_outputs(job.out, journal, source.count, job.plain == "keep", job.price, job.min_gain)
    journal.path.unlink()
    return report


def counter_of(folder: str, unit: int | None) -> TokenCounter:
    """Return a counter with a checkpoint's tokenizer and, unless one is given, its configuration's length unit.

    Raises:
        ValueError: neither the configuration nor the caller names a unit.
    """
    from transformers import AutoConfig, AutoTokenizer

    from .. import modeling_planned_diffusion  # noqa: F401 - registers our configuration for AutoConfig

    if unit is None:
        unit = getattr(AutoConfig.from_pretrained(folder), "tokens_per_length_unit", None)
        if unit is None:
            raise ValueError(
                f"The configuration of {folder} has no tokens_per_length_unit; give --unit, for instance 10 as in the "
                "published checkpoints."
            )
    return TokenCounter(AutoTokenizer.from_pretrained(folder), unit)


def planned_by_structure(asked: Asked, most_spans: int = MOST_SPANS) -> Annotation:
    """Return the plan that the structure of a record's answer has."""
    return annotate_by_structure(asked.prompt, asked.unplanned, most_spans)


def annotate_with(
    missing: Iterator[Asked | Refused],
    journal: Journal,
    counter: TokenCounter,
    advance: Advance,
    planned: Callable[[Asked], Annotation],
) -> None:
    """Plan, count and write chunk by chunk, the refused records of a chunk first."""
    while chunk := list(islice(missing, CHUNK)):
        refused = [one for one in chunk if isinstance(one, Refused)]
        asked = [one for one in chunk if isinstance(one, Asked)]
        plans = [planned(one) for one in asked]
        journal.append(*(outcome.entry() for outcome in (*refused, *finished(asked, plans, counter))))
        advance(len(chunk))


def _header(job: AnnotationJob, unit: int) -> dict[str, Any]:
    """Return the settings that an unfinished output must share with the run that goes on with it."""
    thoughts = {} if job.thoughts == "keep" else {"thoughts": job.thoughts}  # older journals have no such key
    return thoughts | {
        "annotator": job.annotator,
        "folder": job.folder,
        "split": job.split,
        "most_spans": job.most_spans,
        "llm": job.llm,
        "unit": unit,
        "source": str(job.source),
    }


def _check_limit(job: AnnotationJob, journal: Journal) -> None:
    """Raise ValueError where finished records would be left out, and lost with the journal."""
    if job.limit is not None and job.limit < journal.stop:
        raise ValueError(
            f"limit is {job.limit}, and {journal.path} holds finished records up to number {journal.stop}; give a "
            f"limit of {journal.stop} or more, or none, or delete the file to begin anew."
        )


def _count_missing(source: Source, journal: Journal) -> int:
    """Count the records that are not finished; all of them, without reading the source, in a new journal."""
    if not len(journal):
        return source.count
    return sum(not journal.is_done(one.index, one.fingerprint) for one in records(source))
