"""Read JSONL files and encode their records, once, before training; every error names file and line."""

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from datasets import Dataset
from transformers import PreTrainedTokenizerBase

from ..generation.tokens import ControlTokens
from ..records.jsonl import UNREADABLE, json_lines, open_bytes
from .examples import Example, encode_example
from .objective import Objective

COLUMNS = ("index", "length")
_MAGIC = {b"PAR1": "Parquet", b"\x1f\x8b": "gzip", b"PK\x03\x04": "zip"}


def read_records(path: str | Path) -> list[dict[str, Any]]:
    """Return the records of a JSONL file, one JSON object with "messages" per line; empty lines are skipped.

    A file whose name ends in .gz is unpacked.

    Raises:
        ValueError: no such file, another format, no records, or a line that is no record (with its number).
    """
    return [record for _, record in numbered_records(path)]


def numbered_records(path: str | Path) -> list[tuple[int, dict[str, Any]]]:
    """Return the records as `read_records`, each with the number of its line, counted from 1."""
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"There is no file {path}; give a JSONL file of records with 'messages'.")
    _refuse_other_formats(path)
    records = []
    for number, record in json_lines(path):
        if not isinstance(record.get("messages"), list):
            raise ValueError(f"{path}, line {number}: no list 'messages'; write {{\"messages\": [...]}}.")
        records.append((number, record))
    if not records:
        raise ValueError(f"{path} holds no records; write one object with 'messages' per line.")
    return records


def _refuse_other_formats(path: Path) -> None:
    """Raise ValueError where a file, unpacked as its name says, begins as a packed one does, rather than as text."""
    start = b""
    with suppress(*UNREADABLE), open_bytes(path) as file:  # the reader of lines says why
        start = file.read(max(map(len, _MAGIC)))
    kind = next((kind for magic, kind in _MAGIC.items() if start.startswith(magic)), None)
    if kind:
        raise ValueError(f"{path} is a {kind} file; training reads JSONL, packed if named .gz; convert it.")


def encode_records(
    records: Sequence[dict[str, Any]],
    tokenizer: PreTrainedTokenizerBase,
    control: ControlTokens,
    source: str = "record",
    numbers: Sequence[int] | None = None,
) -> list[Example]:
    """Return every record as an `Example`.

    Args:
        source: the name of a record in errors, in front of its number.
        numbers: numbers of the records, by default counted from 1.

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
    """Return the positions an example needs at most: every span with the most pads, drafts behind it, or in blocks."""
    pads_per_span = objective.span_padding[1] + objective.span_multiple - 1
    planned = len(example.ids) + pads_per_span * len(example.promises)
    if objective.draft_weight:  # the last blank stands behind the anchor that is farthest back
        planned += max(0, objective.draft_tokens - 2)
    if not objective.block_share:
        return planned
    answer = len(example.plain_answer)
    return max(planned, *(example.prompt_length + answer + -answer % size for size in objective.block_sizes))


def within(examples: Sequence[Example], objective: Objective, most_positions: int, overlong: str) -> list[Example]:
    """Return the examples that fit `most_positions`; longer ones are refused or dropped.

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
    """Return a line per example: `index`, by which the collator finds and draws it, and `length`, to group batches.

    The examples themselves stay with the collator, so that nothing converts them to columns and back.
    """
    lengths = [len(example.ids) + int((example.span >= 0).sum()) for example in examples]  # with one noisy copy
    return Dataset.from_dict({"index": list(range(len(examples))), "length": lengths})


def check_plans(examples: Sequence[Example], source: str) -> None:
    """Reject data that cannot teach planning.

    Raises:
        ValueError: no tagged answer, or none with two spans in a round.
    """
    if not any(example.is_tagged for example in examples):
        raise ValueError(
            f"{source} has no tagged answer, so nothing would teach planning; annotate it first (planned-diffusion "
            "annotate), or train a plain model with TRL's own sft."
        )
    if not any(example.most_spans > 1 for example in examples):
        raise ValueError(
            f"No answer of {source} has two spans in a round, so nothing would teach writing in parallel; annotate "
            "answers that have independent parts."
        )
