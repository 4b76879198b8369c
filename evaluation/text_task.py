"""Measures decoders on prompts of any kind, without a judge (`evaluate --task text`).

1. read the prompts                                                 text_prompts.py
2. load the checkpoint and its untouched base, left to right        text_settings.py, untouched_base.py
3. answer, batch after batch                                        text_contest.py, text_answers.py
4. score every answer under the base, in float32                    likelihood.py
5. keep every answer at once                                        records/journal.py
6. figures with intervals, tables, JSON, a picture                  text_figures.py, text_report.py
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .frontier_plot import figure_class
from .run_header import header_of_run, stamp_of_run
from .shards import kept_entries, stamp_of_shard
from .text_answers import TextAnswer, request_for
from .text_contest import Contest, answer_all, batches_of, load_contest
from .text_prompts import read_text_prompts
from .text_report import report_text
from .text_settings import TextEvaluation


def evaluate_text(evaluation: TextEvaluation, plot: Path | None = None, keep: Path | None = None) -> list[TextAnswer]:
    """Measure the systems on the prompts; print tables or JSON, draw a picture, and return the answers.

    Every answer is written into `keep` at once, to be read; a run with the same `keep`, checkpoints, code and machine
    continues from there, also with more prompts, other decoders or another temperature.

    Raises:
        ValueError: bad prompts, no such system, a plot without a base, or `keep` belongs to another run.
        RuntimeError: a plot is wanted and matplotlib is missing, or `keep` cannot be written.
    """
    prompts = read_text_prompts(evaluation.prompts, evaluation.count)
    if plot is not None:
        _check_plot(evaluation)
    contest = load_contest(evaluation)
    for system in contest.systems:
        for asked in prompts:
            request_for(system, asked)  # refused before any work
    stamp = stamp_of(evaluation, contest)
    batches = batches_of(prompts, evaluation.batch_sizes, evaluation.alone, evaluation.shard)
    answers: list[TextAnswer] = []
    with kept_entries(keep, header_of(evaluation, stamp), evaluation.shard) as journal:
        try:
            with evaluation.bar("answering") as show:
                for answer in answer_all(contest, batches, journal, show):
                    answers.append(answer)  # those before an interruption are reported
        finally:
            if answers:
                report_text(answers, stamp, evaluation.as_json, None if evaluation.shard else plot)
    return answers


def _check_plot(evaluation: TextEvaluation) -> None:
    """Refuse a picture that could not be drawn at the end."""
    if evaluation.base is None:
        raise ValueError("--plot draws the likelihood under a base, and none is known; name one with --base.")
    figure_class()


def stamp_of(evaluation: TextEvaluation, contest: Contest) -> dict[str, Any]:
    """Return the circumstances of a text task."""
    batch = " and ".join(map(str, evaluation.batch_sizes))
    stamp = stamp_of_run(contest.systems[-1].checkpoint.model, batch, checkpoints_of(evaluation), evaluation.prompts)
    return {**stamp, "max_new_tokens": evaluation.max_new_tokens, "temperature": evaluation.temperature} | (
        stamp_of_shard(evaluation.shard)
    )


def checkpoints_of(evaluation: TextEvaluation) -> dict[str, str | None]:
    """Return the checkpoints of a text task by their roles."""
    return {"model": evaluation.model, "base": evaluation.base}


def header_of(evaluation: TextEvaluation, stamp: Mapping[str, Any], task: str = "text") -> dict[str, Any]:
    """Return what the runs of a task that share a file of answers have in common."""
    return header_of_run(task, stamp, checkpoints_of(evaluation))
