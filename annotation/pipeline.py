"""`planned-diffusion annotate`: from ordinary question/answer data to records with plans.

    1. open the source and check every row               reading.py, schemas.py
    2. plan each answer                                  structure.py, or llm.py through an endpoint
    3. tag, count and check; what fails is refused       tagging.py
    4. keep every finished record in OUT.partial         journal.py
    5. when all are done: OUT.refused.jsonl, OUT.report.json, OUT.report.png, and last of all OUT

A run that was stopped goes on where it was when the same command is given again.
"""

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path

from ..records.journal import Journal
from ..records.output import beside, make_place_for
from .assembly import assemble
from .outcomes import Asked, finished, records
from .reading import Source, open_source
from .structure import MOST_SPANS
from .structure import annotate as annotate_by_structure
from .tagging import TokenCounter

CHUNK = 256  # records planned, counted and written together
PLAIN_CHOICES = ("keep", "drop")


@dataclass(frozen=True)
class Job:
    """What to annotate and how; `folder` holds the tokenizer, `unit` the tokens per length unit."""

    source: str
    out: Path
    folder: str
    unit: int | None = None
    annotator: str = "structure"
    plain: str = "keep"
    split: str = "train"
    limit: int | None = None
    most_spans: int = MOST_SPANS
    llm: str = ""  # the model that is asked, for the annotator of that name
    price: tuple[float, float] | None = None  # of a million prompt and completion tokens, for the report


def check_job(job: Job) -> None:
    """Raises ValueError where a job cannot end well, before work is put into it."""
    if job.plain not in PLAIN_CHOICES:
        raise ValueError(f"plain is {job.plain!r}; choose keep or drop.")
    for name in ("limit", "most_spans", "unit"):
        value = getattr(job, name)
        if value is not None and value < (4 if name == "most_spans" else 1):
            raise ValueError(f"{name} is {value}; give {'4' if name == 'most_spans' else '1'} or more.")
    make_place_for(job.out)


def counter_of(folder: str, unit: int | None) -> TokenCounter:
    """The tokenizer of a checkpoint, and the length unit of its configuration unless one is given.

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


def run(job: Job, ask: Callable | None = None, show: Callable | None = None) -> dict:
    """Annotates a source into `job.out` and returns the report.

    Args:
        ask: with the "llm" annotator, `ask(records, journal, counter, advance)`, which writes their entries.
        show: called with the number of records finished, at the start and whenever there are more.

    Raises:
        ValueError: bad input or settings.
        RuntimeError: a failing endpoint or disk; what is finished is kept.
    """
    check_job(job)
    source = open_source(job.source, job.split, job.limit)
    counter = counter_of(job.folder, job.unit)
    advance = _progress(show, source.count)
    with Journal(beside(job.out, ".partial"), _settings(job, counter)) as journal:
        _check_limit(job, journal)
        missing = (one for one in records(source) if not journal.is_done(*_key(one)))
        advance(source.count - _count_missing(source, journal))
        if ask is not None:
            ask(missing, journal, counter, advance)
        else:
            _by_structure(missing, journal, counter, job, advance)
        report = assemble(job.out, journal, source.count, job.plain == "keep", job.price)
    journal.path.unlink()
    return report


def _check_limit(job: Job, journal: Journal) -> None:
    """Raises ValueError where finished records would be left out, and lost with the journal."""
    if job.limit is not None and job.limit < journal.stop:
        raise ValueError(
            f"limit is {job.limit}, and {journal.path} holds finished records up to number {journal.stop}; give a "
            f"limit of {journal.stop} or more, or none, or delete the file to begin anew."
        )


def _key(one: Asked | dict) -> tuple[int, str]:
    return (one["index"], one["hash"]) if isinstance(one, dict) else (one.index, one.fingerprint)


def _count_missing(source: Source, journal: Journal) -> int:
    if not len(journal):
        return source.count
    return sum(not journal.is_done(*_key(one)) for one in records(source))


def _progress(show: Callable | None, total: int) -> Callable[[int], None]:
    return (lambda finished: None) if show is None else (lambda finished: show(finished, total))


def _settings(job: Job, counter: TokenCounter) -> dict:
    """What an unfinished output must share with the run that goes on with it."""
    named = asdict(job)
    kept = ("annotator", "folder", "split", "most_spans", "llm")
    return {name: named[name] for name in kept} | {"unit": counter.unit, "source": str(job.source)}


def _by_structure(missing: Iterator, journal: Journal, counter: TokenCounter, job: Job, advance: Callable) -> None:
    """Plans, counts and writes chunk by chunk."""
    for chunk in iter(lambda: list(islice(missing, CHUNK)), []):
        journal.append(*_entries(chunk, counter, job.most_spans))
        advance(len(chunk))


def _entries(chunk: list, counter: TokenCounter, most_spans: int) -> list[dict]:
    asked = [one for one in chunk if isinstance(one, Asked)]
    plans = [annotate_by_structure(one.prompt, one.answer, most_spans) for one in asked]
    return [one for one in chunk if isinstance(one, dict)] + finished(asked, plans, counter)
