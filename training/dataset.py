"""From JSONL files to encoded examples, once, before training; every complaint names file and line."""

import json
from collections.abc import Sequence
from pathlib import Path

from datasets import Dataset

from ..generation.tokens import ControlTokens
from .corruption import Objective
from .records import Example, encode_example

COLUMNS = ("index", "ids", "span", "round", "is_target", "plain_answer", "length")


def read_records(path: str | Path) -> list[dict]:
    """The records of a JSONL file, one JSON object with "messages" per line; empty lines are skipped.

    Raises:
        ValueError: no such file, no records, or a line that is no record (with its number).
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"There is no file {path}; give a JSONL file of records with 'messages'.")
    records = []
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            try:
                record = json.loads(line)
            except json.JSONDecodeError as error:
                raise ValueError(f"{path}, line {number}: not JSON ({error}); write one object per line.") from error
            if not isinstance(record, dict) or not isinstance(record.get("messages"), list):
                raise ValueError(f"{path}, line {number}: no list 'messages'; write {{\"messages\": [...]}}.")
            records.append(record)
    if not records:
        raise ValueError(f"{path} holds no records.")
    return records


def encode_records(records: Sequence[dict], tokenizer, control: ControlTokens, source: str = "record") -> list[Example]:
    """Every record as an `Example`.

    Raises:
        ValueError: as `encode_example`, with the record's number counted from 1.
    """
    examples = []
    for number, record in enumerate(records, start=1):
        try:
            examples.append(encode_example(record["messages"], tokenizer, control))
        except ValueError as error:
            raise ValueError(f"{source} {number}: {error}") from error
    return examples


def positions_at_most(example: Example, objective: Objective) -> int:
    """The positions that an example needs when every span draws the most pads, or its answer the largest blocks."""
    pads_per_span = objective.span_padding[1] + objective.span_multiple - 1
    planned = len(example.ids) + pads_per_span * int(example.span.max() + 1)
    if not objective.block_share:
        return planned
    prompt = example.prompt_length
    answer = len(example.plain_answer) if example.is_tagged else len(example.ids) - prompt
    return max(planned, *(prompt + answer + -answer % size for size in objective.block_sizes))


def within(examples: Sequence[Example], objective: Objective, most_positions: int, overlong: str) -> list[Example]:
    """The examples that fit `most_positions`; longer ones are refused or dropped.

    Raises:
        ValueError: some do not fit and `overlong` is "refuse", none fits, or `overlong` is neither "refuse" nor "drop".
    """
    if overlong not in ("refuse", "drop"):
        raise ValueError(f"overlong is {overlong!r}; choose 'refuse' or 'drop'.")
    fitting = [example for example in examples if positions_at_most(example, objective) <= most_positions]
    too_long = len(examples) - len(fitting)
    if too_long and (overlong == "refuse" or not fitting):
        longest = max(positions_at_most(example, objective) for example in examples)
        raise ValueError(
            f"{too_long} of {len(examples)} records need more than {most_positions} positions, up to {longest} "
            "with pads; raise max_length (and the model's max_position_embeddings), or set overlong: drop."
        )
    return fitting


def as_dataset(examples: Sequence[Example]) -> Dataset:
    """One line per example, as the collator reads it; `length` groups batches, `index` seeds what is drawn."""
    return Dataset.from_dict(
        {
            "index": list(range(len(examples))),
            "ids": [example.ids for example in examples],
            "span": [example.span for example in examples],
            "round": [example.round for example in examples],
            "is_target": [example.is_target for example in examples],
            "plain_answer": [example.plain_answer for example in examples],
            "length": [len(example.ids) + int((example.span >= 0).sum()) for example in examples],
        }
    )
