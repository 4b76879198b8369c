"""The systems of a text task, and the loop in which they answer: batch after batch, and every system in turn.

A machine that slows down thus slows down all of them, and an interrupted run has answers of all of them. All prompts
are answered in batches, the first of them also one at a time.
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from ..inference.answer import Checkpoint, open_checkpoint
from ..records.journal import Journal
from .bars import Show
from .frontier import ALONE
from .likelihood import likelihoods
from .shards import Shard
from .text_answers import TextAnswer, TextSystem, answer_batch
from .text_figures import figures_of
from .text_prompts import TextPrompt
from .text_settings import BASE, LEFT_TO_RIGHT, TextEvaluation
from .variants import Systems

WARM_UP_TOKENS = 8
Batch = tuple[int, Sequence[TextPrompt]]  # how many prompts are answered together, at most, and these prompts


@dataclass(frozen=True)
class Contest:
    """The systems that are compared, and the base in float32 that scores their answers; None where none is known.

    figures: the numbers that are kept beside every answer, for a reader of the file.
    """

    systems: Sequence[TextSystem]
    scorer: Checkpoint | None
    figures: Callable[[TextAnswer], Mapping[str, float | None]] = figures_of


def load_contest(evaluation: TextEvaluation) -> Contest:
    """Load the checkpoint and its base; a base that is the checkpoint itself is loaded once.

    Raises:
        ValueError: a checkpoint that cannot be loaded, or no such system.
    """
    chosen, base, shared = evaluation.systems, evaluation.base, evaluation.fields
    model = open_checkpoint(evaluation.model)
    systems = [TextSystem(name, model, {**fields, **shared}) for name, fields in chosen.items()]
    if base is None:
        return Contest(systems, None)
    untouched = model if _same_folder(base, evaluation.model) else open_checkpoint(base)
    if untouched is model:  # the model left to right is the base
        systems = [one for one in systems if one.fields["decoding"] != LEFT_TO_RIGHT["decoding"]]
    scorer = in_float32(untouched)
    return Contest([TextSystem(BASE, untouched, {**LEFT_TO_RIGHT, **shared}), *systems], scorer)


def load_sides(evaluation: TextEvaluation, chosen: Systems) -> Contest:
    """Load the checkpoint alone to answer, and its base to score; the checkpoint scores itself where it has no base.

    Raises:
        ValueError: a checkpoint that cannot be loaded.
    """
    base = evaluation.base or evaluation.model
    model = open_checkpoint(evaluation.model)
    systems = [TextSystem(name, model, {**fields, **evaluation.fields}) for name, fields in chosen.items()]
    scorer = in_float32(model) if _same_folder(base, evaluation.model) else open_checkpoint(base, "float32")
    return Contest(systems, scorer)


def in_float32(checkpoint: Checkpoint) -> Checkpoint:
    """Return a checkpoint whose weights are float32: this one, or another copy of it."""
    is_exact = checkpoint.model.dtype == torch.float32
    return checkpoint if is_exact else open_checkpoint(checkpoint.source, "float32")


def _same_folder(one: str, other: str) -> bool:
    """Tell whether two names mean the same checkpoint."""
    return one == other or (Path(one).is_dir() and Path(other).is_dir() and Path(one).samefile(other))


def batches_of(
    prompts: Sequence[TextPrompt], sizes: Sequence[int], alone: int = ALONE, shard: Shard | None = None
) -> list[Batch]:
    """Return the prompts in batches; those of a share of the run alone.

    Args:
        sizes: prompts of a batch; where there are several, size 1 is for the first `alone` prompts only.
    """
    batches = [
        (size, batch)
        for size in sizes
        for batch in _cut(prompts[:alone] if size == 1 and len(sizes) > 1 else prompts, size)
    ]
    return [batch for place, batch in enumerate(batches) if shard is None or shard.holds(place)]


def answer_all(
    contest: Contest,
    batches: Sequence[Batch],
    journal: Journal | None = None,
    show: Show = lambda done, total: None,
) -> Iterator[TextAnswer]:
    """Yield the answers of all systems to all prompts; those of the journal are not made again.

    A batch that lacks an answer is made again as a whole.
    """
    kept = {entry["hash"]: entry["answer"] for entry in journal.entries(journal.stop)} if journal is not None else {}
    done, total = 0, len(contest.systems) * sum(len(batch) for _, batch in batches)
    for size, batch in batches:
        for system in contest.systems:
            show(done, total)
            names = [fingerprint_of(system, size, asked) for asked in batch]
            if all(name in kept for name in names):
                answers = [TextAnswer.from_json(kept[name]) for name in names]
            else:
                answers = scored(answer_batch(system, batch, size), contest.scorer)
                if journal is not None:
                    journal.append(*_entries(contest, answers, names, journal.stop))
            yield from answers
            done += len(batch)
    show(done, total)


def warm_up(systems: Sequence[TextSystem], asked: TextPrompt) -> None:
    """Answer a prompt with each system, briefly, so that none pays for first forwards; nothing is kept."""
    for system in systems:
        answer_batch(replace(system, fields={**system.fields, "max_new_tokens": WARM_UP_TOKENS}), [asked], 1)


def scored(answers: Sequence[TextAnswer], scorer: Checkpoint | None) -> list[TextAnswer]:
    """Return answers with their log-likelihoods; a batch is scored as a whole, so that its rounding is repeatable."""
    if scorer is None:
        return list(answers)
    found = likelihoods(scorer, [(one.asked.prompt, one.text) for one in answers])
    return [replace(one, likelihood=each) for one, each in zip(answers, found, strict=True)]


def fingerprint_of(system: TextSystem, batch_size: int, asked: TextPrompt) -> str:
    """Return a hash of everything that decides on an answer, the checkpoints aside."""
    decisive: list[Any] = [system.name, system.fields, batch_size, asked.line, asked.prompt]
    decisive += [] if system.plan_edit is None else [system.plan_edit]  # as files of earlier versions have it
    return hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()[:16]


def _cut(prompts: Sequence[TextPrompt], size: int) -> list[Sequence[TextPrompt]]:
    return [prompts[start : start + size] for start in range(0, len(prompts), size)]


def _entries(contest: Contest, answers: Sequence[TextAnswer], names: Sequence[str], first: int) -> list[dict[str, Any]]:
    """Return the journal's entries for answers: the answer as it is, and its figures."""
    return [
        {"index": index, "hash": name, "answer": answer.as_json(), "figures": contest.figures(answer)}
        for index, (answer, name) in enumerate(zip(answers, names, strict=True), start=first)
    ]
