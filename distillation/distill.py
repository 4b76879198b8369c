"""Self-distillation: a model's own answers to prompts of this project, as training records that may be published.

    1. write the prompts                            prompt_sources.py -> prompts.jsonl, requests.jsonl
    2. let the untouched model answer them          inference/batch   -> answers.jsonl
    3. drop bad answers by stated rules             answer_filters.py -> kept.jsonl, dropped.jsonl
    4. find the independent parts of the others     annotation/       -> records.jsonl.gz
    5. count                                        distillation_report.py -> report.json

A stage whose files are there is not run again, and answers are kept one by one: a run that was stopped, in any way,
goes on when the same command is given again.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from itertools import chain
from random import Random
from typing import Any

from ..annotation.pipeline import AnnotationJob, annotate_file, check_annotation_job
from ..inference.batch.job import BatchJob
from ..inference.batch.run import answer_file
from .answer_filters import AnsweredPrompt, filtered
from .distillation_job import DistillationJob, Folder, Row, rows_of, write_whole
from .distillation_report import write_report
from .prompt_data import hints
from .prompt_sources import distinct, drawn, from_file, from_pool

SAMPLING = {0.0: 40, 0.3: 30, 0.7: 30}  # temperature -> how many of a hundred prompts are answered with it; 0 is greedy
TOP_P = 0.9
ROW_FIELDS = ("id", "kind", "parts", "source")  # of a prompt, which its record keeps

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
            answer_file(_batch_job(job, folder), show)
    if not folder.kept.is_file():
        write_kept(folder)
    if not folder.records.is_file():
        with bar("annotating") as show:
            _annotate(annotation, folder, show)
    return write_report(job, folder)


def annotation_job(job: DistillationJob) -> AnnotationJob:
    """Return the job of the annotator, checked.

    Raises:
        ValueError: a value that it refuses.
    """
    options: dict[str, Any] = dict(job.annotation)
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
    write_whole(folder.requests, _requests(rows, job.seed, job.hinted))


def _requests(rows: list[Row], seed: int, hinted: float) -> Iterator[Row]:
    """Yield a request for each prompt: a part greedy, a part sampled, each with a seed of its own, some with a hint."""
    rng, for_parts = Random(f"sampling {seed}"), {parts: hints(parts) for parts in (True, False, None)}
    for row in rows:
        temperature = rng.choices(list(SAMPLING), list(SAMPLING.values()))[0]
        own_seed = rng.randrange(2**31)
        sampled = {"top_p": TOP_P, "seed": own_seed} if temperature else {}
        possible = for_parts[row["parts"]] if rng.random() < hinted else ()
        hint = rng.choice(possible) if possible else ""
        prompt = f"{row['prompt']} {hint}" if hint else row["prompt"]
        yield {"id": row["id"], "prompt": prompt, "temperature": temperature, **sampled}


def _batch_job(job: DistillationJob, folder: Folder) -> BatchJob:
    return BatchJob(
        source=folder.requests,
        out=folder.answers,
        model=job.model,
        fields={"decoding": "autoregressive", "max_new_tokens": job.max_new_tokens},
        batch_size=job.batch_size,
    )


def write_kept(folder: Folder) -> None:
    """Sort the answers into those that are kept and those that break a rule.

    Raises:
        ValueError: no answer is left.
    """
    prompts = {row["id"]: row for row in rows_of(folder.prompts)}
    requests = {row["id"]: row for row in rows_of(folder.requests)}
    kept, dropped = [], []
    answers = list(rows_of(folder.answers))
    for answer, reason in zip(answers, filtered(_answered(answer, prompts) for answer in answers), strict=True):
        prompt = prompts[answer["id"]]
        row = {"prompt": prompt["prompt"], "response": answer["text"].strip()}
        request = requests[answer["id"]]
        row |= {name: prompt[name] for name in ROW_FIELDS} | {"temperature": request["temperature"]}
        row["hint"] = request["prompt"].removeprefix(prompt["prompt"]).strip()
        (dropped if reason else kept).append(row | ({"reason": reason} if reason else {}))
    write_whole(folder.dropped, dropped)
    if not kept:
        raise ValueError(f"Every answer broke a rule ({folder.dropped} says which); is the model one that answers?")
    write_whole(folder.kept, kept)


def _answered(answer: Row, prompts: dict[Any, Row]) -> AnsweredPrompt:
    prompt = prompts[answer["id"]]
    return AnsweredPrompt(prompt["prompt"], answer["text"], prompt["parts"], answer["ended"])


def _annotate(annotation: AnnotationJob, folder: Folder, show: Show) -> None:
    """Annotate what was kept, and pack the records."""
    done = 0

    def advance(count: int, total: int) -> None:
        nonlocal done
        done += count
        show(done, total)

    if not folder.annotated.is_file():
        annotate_file(annotation, show=advance)
    write_whole(folder.records, rows_of(folder.annotated))
    folder.annotated.unlink()
