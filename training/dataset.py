"""From JSONL files to encoded examples, once, before training; every complaint names file and line."""

import codecs
import json
from collections.abc import Sequence
from pathlib import Path

from datasets import Dataset

from ..generation.tokens import ControlTokens
from .examples import Example, encode_example
from .objective import Objective

COLUMNS = ("index", "ids", "span", "round", "is_target", "plain_answer", "length")
_MAGIC = {b"PAR1": "Parquet", b"\x1f\x8b": "gzip", b"PK\x03\x04": "zip"}


def read_records(path: str | Path) -> list[dict]:
    """The records of a JSONL file, one JSON object with "messages" per line; empty lines are skipped.

    Raises:
        ValueError: no such file, another format, no records, or a line that is no record (with its number).
    """
    return [record for _, record in numbered_records(path)]


def numbered_records(path: str | Path) -> list[tuple[int, dict]]:
    """As `read_records`, each with the number of its line, counted from 1."""
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"There is no file {path}; give a JSONL file of records with 'messages'.")
    records = []
    with path.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            line = line.removeprefix(codecs.BOM_UTF8) if number == 1 else line
            if number == 1 and (kind := _other_format(line)):
                raise ValueError(f"{path} is a {kind} file; training reads plain JSONL only, so convert it first.")
            if line.strip():
                records.append((number, _record(line, f"{path}, line {number}")))
    if not records:
        raise ValueError(f"{path} holds no records; write one object with 'messages' per line.")
    return records


def _other_format(start: bytes) -> str | None:
    return next((kind for magic, kind in _MAGIC.items() if start.startswith(magic)), None)


def _record(line: bytes, where: str) -> dict:
    try:
        record = json.loads(line.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise ValueError(f"{where}: not UTF-8 ({error.reason} at byte {error.start}); convert the file.") from error
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{where}: not JSON ({error}); write one object per line.") from error
    if not isinstance(record, dict) or not isinstance(record.get("messages"), list):
        raise ValueError(f"{where}: no list 'messages'; write {{\"messages\": [...]}}.")
    return record


def encode_records(
    records: Sequence[dict],
    tokenizer,
    control: ControlTokens,
    source: str = "record",
    numbers: Sequence[int] | None = None,
) -> list[Example]:
    """Every record as an `Example`.

    Args:
        source: what complaints call a record, in front of its number.
        numbers: the records' numbers, counted from 1 by default.

    Raises:
        ValueError: as `encode_example`, with the record's number.
    """
    examples = []
    for number, record in zip(numbers or range(1, len(records) + 1), records, strict=True):
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
        dropping = ", or set overlong: drop" if fitting else ""
        raise ValueError(
            f"{too_long} of {len(examples)} records need more than {most_positions} positions, up to {longest} "
            f"with pads; raise max_length (and the model's max_position_embeddings){dropping}."
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
