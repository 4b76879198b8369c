"""Standard tasks (`evaluate --task gsm8k`, `ifeval`, `alpaca_eval`): systems answer the rows of a file, and are scored.

1. read the rows; each gives a prompt                               gsm8k.py, ifeval.py, alpaca_answers.py
2. load the checkpoint; choose the systems                          text_settings.py
3. answer, batch after batch and every system in turn               text_contest.py
4. keep every answer with its figures at once                       records/journal.py
5. sums with intervals over the rows, a table or JSON

A row that a system cannot answer (no room for an answer, say) counts as failed: its text is empty and its score that of
an empty answer, and the run goes on.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.table import Table

from ..inference.answer import open_checkpoint
from ..records.jsonl import json_lines
from .alpaca_answers import alpaca_eval_prompt, alpaca_eval_terms
from .bootstrap import Estimate, Term, estimate
from .gsm8k import gsm8k_prompt, gsm8k_terms
from .ifeval import ifeval_prompt, ifeval_terms
from .run_header import header_of_run, stamp_of_run
from .shards import kept_entries, stamp_of_shard
from .stamp import print_json, print_tables
from .text_answers import TextAnswer, TextSystem
from .text_contest import Contest, answer_all, batches_of
from .text_figures import FIGURES, seconds_of_batches
from .text_prompts import TextPrompt
from .text_report import INTERVALS, shown
from .text_settings import TextEvaluation

Row = dict[str, Any]


@dataclass(frozen=True)
class StandardTask:
    """A set of prompts whose answers can be scored.

    prompt: gives the prompt of a row; ValueError for a row that is not one of this set.
    terms: gives what an answer adds to each score, as (x, w): the score is the sum of x over the sum of w.
    max_new_tokens: tokens of an answer, at most, where the user does not say.
    """

    prompt: Callable[[Mapping[str, Any]], str]
    terms: Callable[[Mapping[str, Any], str], Mapping[str, Term]]
    max_new_tokens: int


STANDARD_TASKS = {
    "gsm8k": StandardTask(gsm8k_prompt, gsm8k_terms, 320),
    "ifeval": StandardTask(ifeval_prompt, ifeval_terms, 512),
    "alpaca_eval": StandardTask(alpaca_eval_prompt, alpaca_eval_terms, 512),
}
COSTS = {"tokens": ".0f", "forwards": ".1f", "critical_path": ".1f", "tokens_per_forward": ".2f", "seconds": ".2f"}


@dataclass(frozen=True)
class StandardMeasurement:
    """The scores and costs of one system; `failed` of the `answers` could not be given."""

    system: str
    answers: int
    failed: int
    scores: dict[str, Estimate | None]
    costs: dict[str, Estimate | None]


@dataclass(frozen=True)
class StandardRows:
    """The rows of a file, by the numbers of their lines, and a hash of the file."""

    rows: dict[int, Row]
    sha256: str

    @classmethod
    def read(cls, task: StandardTask, path: Path, count: int | None = None) -> "StandardRows":
        """Read the first `count` rows of a JSONL file, or all.

        Raises:
            ValueError: no such file, no rows in it, or a row that is not one of this set (with its number).
        """
        if not path.is_file():
            raise ValueError(f"There is no file {path}; give --prompts a JSONL file of the task's rows.")
        rows: dict[int, Row] = {}
        for number, row in json_lines(path):
            if len(rows) == count:
                break
            try:
                task.prompt(row)
            except ValueError as error:
                raise ValueError(f"{path}, line {number}: {error}") from error
            rows[number] = row
        if not rows:
            raise ValueError(f"{path} holds no rows; write one JSON object per line.")
        with path.open("rb") as file:
            return cls(rows, hashlib.file_digest(file, "sha256").hexdigest()[:16])


def evaluate_standard(name: str, evaluation: TextEvaluation, keep: Path | None = None) -> list[TextAnswer]:
    """Measure systems on a standard task; print a table or JSON, and return the answers.

    Every answer is written into `keep` at once; a run with the same `keep`, data, checkpoint, code and machine goes on.

    Raises:
        ValueError: bad rows, no such system, or `keep` belongs to another run.
        RuntimeError: a library that the scores need is missing, or `keep` cannot be written.
    """
    task = STANDARD_TASKS[name]
    data = StandardRows.read(task, evaluation.prompts, evaluation.count)
    contest = load_systems(evaluation, lambda answer: scores_of(task, data, answer))
    prompts = [TextPrompt(line, task.prompt(row)) for line, row in data.rows.items()]
    roles = {"model": evaluation.model}
    stamp = stamp_of_run(contest.systems[0].checkpoint.model, evaluation.batch_size, roles, evaluation.prompts)
    stamp |= {"task": name, "max_new_tokens": evaluation.max_new_tokens, "temperature": evaluation.temperature}
    stamp |= stamp_of_shard(evaluation.shard)
    header = header_of_run(name, stamp, roles) | {"data": data.sha256}
    answers: list[TextAnswer] = []
    batches = batches_of(prompts, [evaluation.batch_size], shard=evaluation.shard)
    with kept_entries(keep, header, evaluation.shard) as journal:
        try:
            with evaluation.bar("answering") as show:
                for answer in answer_all(contest, batches, journal, show):
                    answers.append(answer)
        finally:
            if answers:
                _report(measurements_of(task, data, answers), stamp, evaluation.as_json)
    return answers


def load_systems(evaluation: TextEvaluation, figures: Callable[[TextAnswer], Mapping[str, float | None]]) -> Contest:
    """Load the checkpoint, with the systems that are measured on it.

    Raises:
        ValueError: a checkpoint that cannot be loaded, no such system, or fields that it refuses.
    """
    chosen, shared = evaluation.systems, evaluation.fields
    checkpoint = open_checkpoint(evaluation.model)
    systems = [TextSystem(name, checkpoint, {**fields, **shared}) for name, fields in chosen.items()]
    for system in systems:
        checkpoint.model.resolve_fields(None, None, dict(system.fields))  # or they are refused
    return Contest(systems, None, figures)


def scores_of(task: StandardTask, data: StandardRows, answer: TextAnswer) -> dict[str, float | None]:
    """Return the scores of one answer alone, and what it took."""
    terms = {**task.terms(data.rows[answer.asked.line], answer.text), **{name: FIGURES[name](answer) for name in COSTS}}
    return {name: term[0] / term[1] if term is not None and term[1] else None for name, term in terms.items()}


def measurements_of(task: StandardTask, data: StandardRows, answers: Sequence[TextAnswer]) -> list[StandardMeasurement]:
    """Return the measurement of every system; failed answers count in the scores, and not in the costs."""
    by_system: dict[str, list[TextAnswer]] = {}
    for one in answers:
        by_system.setdefault(one.system, []).append(one)
    found = []
    for system, own in by_system.items():
        terms = [task.terms(data.rows[one.asked.line], one.text) for one in own]
        given = [one for one in own if one.error is None]
        costs = {name: estimate(FIGURES[name](one) for one in given) for name in COSTS if name != "seconds"}
        found.append(
            StandardMeasurement(
                system=system,
                answers=len(own),
                failed=len(own) - len(given),
                scores={name: estimate(each[name] for each in terms) for name in terms[0]},
                costs=costs | {"seconds": estimate(seconds_of_batches(given))},
            )
        )
    return found


def _report(rows: Sequence[StandardMeasurement], stamp: Mapping[str, Any], as_json: bool) -> None:
    """Print the measurements as a table or as one JSON object."""
    if as_json:
        print_json(stamp, {"results": rows})
        return
    table = Table(title=f"{stamp['task']}: {rows[0].answers} prompts; {INTERVALS}")
    for header in ("", *rows[0].scores, "failed", *(name.replace("_", " ") for name in COSTS)):
        table.add_column(header, justify="right" if header else "left")
    for row in rows:
        scores = [shown(one, ".1%") for one in row.scores.values()]
        costs = [shown(row.costs[name], form) for name, form in COSTS.items()]
        table.add_row(row.system, *scores, str(row.failed), *costs)
    print_tables([table], stamp)
