"""Scores given answers under a model (`evaluate --task likelihood`): left to right, and planned ones also as planned.

1. read prompts with their answers                                  scored_records.py
2. score the text of each from left to right, its end included      likelihood.py
3. bound the log-likelihood of each answer that has a plan          planned_bound.py
4. keep every record at once                                        records/journal.py
5. sums with intervals over the records

Both are log-likelihoods of the whole answer in nats, so they may be compared record by record: a planned answer also
says how it is laid out, and fills its rooms with pads. `error` is the Monte-Carlo error of the bound alone.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from rich.table import Table

from ..generation.tokens import ControlTokens
from ..inference.answer import Checkpoint, open_checkpoint
from ..training.examples import Example, encode_example
from .bars import Bar, no_bar
from .bootstrap import Estimate, estimate
from .likelihood import scored_texts
from .planned_bound import SAMPLES, check_samples, pads_to_the_room, planned_bound
from .run_header import header_of_run, stamp_of_run
from .scored_records import ScoredRecord, read_scored_records
from .shards import Shard, kept_entries, stamp_of_shard
from .stamp import print_json, print_tables
from .text_report import INTERVALS, shown


@dataclass(frozen=True)
class LikelihoodEvaluation:
    """A likelihood task to run.

    model: folder or Hub repository of a checkpoint.
    answers: file of prompts with their answers; the first `count` of them, or all.
    samples: draws for the bound of each planned answer.
    as_json: print one JSON object instead of a table.
    bar: opens a progress bar.
    shard: score only this share of the records.

    Raises:
        ValueError: a number that is too small.
    """

    model: str
    answers: Path
    count: int | None = None
    samples: int = SAMPLES
    as_json: bool = False
    bar: Bar = field(default=no_bar, compare=False, repr=False)
    shard: Shard | None = None

    def __post_init__(self) -> None:
        if self.count is not None and self.count < 1:
            raise ValueError(f"count is {self.count}; give 1 or more.")
        check_samples(self.samples)


@dataclass(frozen=True)
class RecordScore:
    """The scores of one record; what belongs to the plan is None where it has none.

    left_to_right, tokens: nats and tokens of the plain text and its end.
    plan, spans, error, planned_tokens: as in `PlannedBound`.
    """

    line: int
    left_to_right: float
    tokens: int
    plan: float | None = None
    spans: float | None = None
    error: float | None = None
    planned_tokens: int | None = None

    @property
    def bound(self) -> float | None:
        """Return the bound of the planned answer, in nats."""
        return None if self.plan is None or self.spans is None else self.plan + self.spans


@dataclass(frozen=True)
class LikelihoodRow:
    """The scores of all records in one way; `error` is the Monte-Carlo error of `per_answer`, 0 where it is exact."""

    way: str
    answers: int
    per_answer: Estimate | None
    per_token: Estimate | None
    error: float


def evaluate_likelihood(evaluation: LikelihoodEvaluation, keep: Path | None = None) -> list[RecordScore]:
    """Score the answers of a file; print a table or JSON, and return the scores.

    Every score is written into `keep` at once; a run with the same `keep`, checkpoint, code and machine goes on.

    Raises:
        ValueError: bad records, tags that do not follow the grammar, a span without room, or `keep` of another run.
    """
    records = read_scored_records(evaluation.answers, evaluation.count)
    checkpoint = open_checkpoint(evaluation.model)
    examples = [example_of(checkpoint, evaluation.answers, record) for record in records]  # refused before any work
    roles = {"model": evaluation.model}
    stamp = stamp_of_run(checkpoint.model, 1, roles, evaluation.answers) | {"samples": evaluation.samples}
    stamp |= stamp_of_shard(evaluation.shard)
    scores: list[RecordScore] = []
    shard, pairs = evaluation.shard, list(zip(records, examples, strict=True))
    taken = [pair for place, pair in enumerate(pairs) if shard is None or shard.holds(place)]
    with kept_entries(keep, header_of_run("likelihood", stamp, roles), shard) as journal:
        kept = {one["hash"]: one["score"] for one in journal.entries(journal.stop)} if journal is not None else {}
        try:
            with evaluation.bar("scoring") as show:
                for record, example in taken:
                    show(len(scores), len(taken))
                    name = fingerprint(record)
                    score = (
                        RecordScore(**kept[name]) if name in kept else _score(checkpoint, record, example, evaluation)
                    )
                    if journal is not None and name not in kept:
                        entry = {"hash": name, "messages": record.messages, "score": asdict(score)}
                        journal.append({"index": journal.stop, **entry})
                    scores.append(score)
                show(len(scores), len(taken))
        finally:
            if scores:
                _report(scores, stamp, evaluation.as_json)
    return scores


def example_of(checkpoint: Checkpoint, path: Path, record: ScoredRecord) -> Example:
    """Return a record as integers.

    Raises:
        ValueError: messages or tags that cannot be used, or a span without room, with the number of the line.
    """
    config = checkpoint.model.config
    try:
        control = ControlTokens.from_config(config)
        example = encode_example(record.messages, checkpoint.tokenizer, control)
        if example.is_tagged:
            pads_to_the_room(example, config)
    except ValueError as error:
        raise ValueError(f"{path}, line {record.line}: {error}") from error
    return example


def fingerprint(record: ScoredRecord) -> str:
    """Return a hash of everything that decides on a score, the checkpoint and the samples aside."""
    return hashlib.sha256(json.dumps([record.line, record.messages]).encode()).hexdigest()[:16]


def _score(
    checkpoint: Checkpoint, record: ScoredRecord, example: Example, evaluation: LikelihoodEvaluation
) -> RecordScore:
    prompt = example.ids[: example.prompt_length].tolist()
    [plain] = scored_texts(checkpoint.model, [(prompt, example.plain_answer.tolist())])
    score = RecordScore(record.line, plain.likelihood.total, plain.likelihood.tokens)
    if not example.is_tagged:
        return score
    bound = planned_bound(checkpoint, example, evaluation.samples)
    return replace(
        score, plan=bound.plan.total, spans=bound.spans.total, error=bound.error, planned_tokens=bound.tokens
    )


def likelihood_rows(scores: Sequence[RecordScore]) -> list[LikelihoodRow]:
    """Return a row per way of scoring: planned answers both ways, then plain answers."""
    planned = [one for one in scores if one.bound is not None]
    plain = [one for one in scores if one.bound is None]
    rows = [
        _row("planned answers, bound as planned", [(one.bound or 0.0, one.planned_tokens or 0) for one in planned]),
        _row("planned answers, left to right", [(one.left_to_right, one.tokens) for one in planned]),
        _row("plain answers, left to right", [(one.left_to_right, one.tokens) for one in plain]),
    ]
    error = sum((one.error or 0.0) ** 2 for one in planned) ** 0.5 / max(1, len(planned))
    return [replace(row, error=error if row is rows[0] else 0.0) for row in rows if row.answers]


def _row(way: str, sums: Sequence[tuple[float, int]]) -> LikelihoodRow:
    per_answer = estimate((nats, 1) for nats, _ in sums)
    return LikelihoodRow(way, len(sums), per_answer, estimate(sums), error=0.0)


def _report(scores: Sequence[RecordScore], stamp: Mapping[str, Any], as_json: bool) -> None:
    """Print the rows as a table or as one JSON object, with every score."""
    rows = likelihood_rows(scores)
    if as_json:
        print_json(stamp, {"results": rows, "records": scores})
        return
    table = Table(title=f"log-likelihood in nats; {INTERVALS}")
    for header in ("", "answers", "per answer", "Monte-Carlo error", "per token"):
        table.add_column(header, justify="right" if header else "left")
    for row in rows:
        numbers = (
            shown(row.per_answer, ".2f"),
            f"{row.error:.2f}" if row.error else "exact",
            shown(row.per_token, ".3f"),
        )
        table.add_row(row.way, str(row.answers), *numbers)
    print_tables([table], stamp)
