"""Self-distillation: a model's own answers to prompts of this project, as training records that may be published.

    1. write the prompts, and the sub-prompts for parts    prompt_sources.py, answer_requests.py
                                                           -> prompts.jsonl, requests.jsonl
    2. let the untouched model answer them                 inference/batch -> answers.jsonl
    3. assemble parts, drop bad answers by stated rules    checked_answers.py -> kept.jsonl, dropped.jsonl
    4. find the independent parts of whole answers         annotation/ -> records.jsonl.gz, contrary.jsonl
    5. count                                               distillation_report.py -> report.json

A stage whose files are there is not run again, and answers are kept one by one: a run that was stopped, in any way,
goes on when the same command is given again, or one that asks for more prompts.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from itertools import chain
from typing import Any

from ..annotation.independence import PARALLEL
from ..annotation.outcomes import Asked
from ..annotation.pipeline import (
    AnnotationJob,
    annotate_file,
    annotate_with,
    check_annotation_job,
    planned_by_structure,
)
from ..annotation.structure import Annotation
from ..inference.batch.job import BatchJob
from ..inference.batch.run import answer_file
from .answer_filters import without_duplicates
from .answer_requests import missing_requests
from .checked_answers import checked_answer, is_answered
from .distillation_job import DistillationJob, Folder, Row, rows_of, write_whole
from .distillation_report import PLANNED, write_report
from .prompt_sources import distinct, drawn, from_file, from_pool

ANNOTATION = {"unit": 5, "min_gain": 0.85}  # options of the annotator, unless others are given

Show = Callable[[int, int], None]  # called with (done, total)
Bar = Callable[[str], AbstractContextManager[Show]]  # called with the title of a stage


def no_bar(title: str) -> AbstractContextManager[Show]:
    """Show nothing."""
    return nullcontext(lambda done, total: None)


def distill(job: DistillationJob, bar: Bar = no_bar) -> Row:
    """Run all stages that are not done, and return the report.

    Args:
        bar: makes the progress bar of a stage.

    Raises:
        ValueError: bad input or settings.
        RuntimeError: a full disk, or no request could be answered; whatever was finished is kept.
    """
    annotation = annotation_job(job)
    folder = Folder(job)
    if not folder.requests.is_file():
        write_prompts(job, folder)
    if not folder.answers.is_file():
        with bar("answering") as show:
            _answer(job, folder, show)
    if not folder.kept.is_file():
        write_kept(job, folder)
    if not folder.records.is_file():
        with bar("annotating") as show:
            _annotate(annotation, folder, show)
    return write_report(job, folder)


def annotation_job(job: DistillationJob) -> AnnotationJob:
    """Return the job of the annotator, checked.

    Raises:
        ValueError: a value that it refuses.
    """
    options: dict[str, Any] = ANNOTATION | dict(job.annotation)
    annotation = AnnotationJob(str(job.out / "kept.jsonl"), job.out / "annotated.jsonl", job.model, **options)
    if not annotation.out.exists():
        check_annotation_job(annotation)
    return annotation


def write_prompts(job: DistillationJob, folder: Folder) -> None:
    """Write the prompts, and the requests of the batch that answers them."""
    own = from_file(job.prompts) if job.prompts else drawn(job.count, job.seed, job.held_out)
    pool = from_pool(job.pool) if job.pool else []
    rows = list(distinct(chain(own, pool)))
    write_whole(folder.prompts, rows)
    write_whole(folder.requests, missing_requests(rows, job.seed, job.max_new_tokens, folder.all_answers()))


def _answer(job: DistillationJob, folder: Folder, show: Show) -> None:
    """Answer the requests; all of them may have been answered before."""
    if not folder.requests.stat().st_size:
        write_whole(folder.answers, [])
        return
    batch = BatchJob(
        source=folder.requests,
        out=folder.answers,
        model=job.model,
        fields={"decoding": "autoregressive"},
        batch_size=job.batch_size,
    )
    answer_file(batch, show)


def write_kept(job: DistillationJob, folder: Folder) -> None:
    """Sort the answers into those that are kept and those that break a rule.

    Raises:
        ValueError: no answer is left.
    """
    prompts, answers = list(rows_of(folder.prompts)), folder.all_answers()
    checked = [checked_answer(prompt, answers, job.seed) for prompt in prompts if is_answered(prompt, answers)]
    reasons = without_duplicates((row["response"], reason) for row, reason in checked)
    kept, dropped = [], []
    for (row, _), reason in zip(checked, reasons, strict=True):
        (dropped if reason else kept).append(row | ({"reason": reason} if reason else {}))
    write_whole(folder.dropped, dropped)
    if not kept:
        raise ValueError(f"Every answer broke a rule ({folder.dropped} says which); is the model one that answers?")
    write_whole(folder.kept, kept)


def _annotate(annotation: AnnotationJob, folder: Folder, show: Show) -> None:
    """Annotate what was kept, and pack the records; the spans of assembled answers are known."""
    done = 0

    def advance(count: int, total: int) -> None:
        nonlocal done
        done += count
        show(done, total)

    def planned(asked: Asked) -> Annotation:
        spans = asked.extra["spans"]
        if not spans:
            return planned_by_structure(asked, annotation.most_spans)
        return Annotation(PARALLEL, (tuple((topic, text) for topic, text in spans),), "asked part by part")

    if not folder.annotated.is_file():
        annotate_file(annotation, partial(annotate_with, planned=planned), advance)
    sorted_out: dict[bool, list[Row]] = {True: [], False: []}
    for row in rows_of(folder.annotated):
        sorted_out[is_as_asked(row)].append({name: value for name, value in row.items() if name != "spans"})
    write_whole(folder.contrary, sorted_out[False])
    write_whole(folder.records, sorted_out[True])
    folder.annotated.unlink()


def is_as_asked(record: Row) -> bool:
    """Return whether a record has a plan where its prompt asks for parts, and none where it must stay whole.

    Whether to plan has to be told from the prompt: records that only their answers tell apart teach to guess.
    """
    return record["parts"] is None or record["parts"] == (record["annotation"] in PLANNED)
