"""Questions as training records: JSON Lines of messages whose answers are tagged."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..records.encoding import encode_text
from ..records.tagged import write_tagged
from .generator import FactsQuestion

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def as_record(
    question: FactsQuestion, tokenizer: "PreTrainedTokenizerBase", tokens_per_length_unit: int
) -> dict[str, Any]:
    """Return a training record: the prompt, and the answer in tagged text."""
    rounds = [[(statement.topic, statement.text) for statement in statements] for statements in question.rounds]
    tagged = write_tagged(rounds, lambda text: len(encode_text(tokenizer, text)), tokens_per_length_unit)
    messages = [{"role": "user", "content": question.prompt}, {"role": "assistant", "content": tagged}]
    return {"messages": messages, "kind": question.kind}


def write_records(
    path: Path, questions: Iterable[FactsQuestion], tokenizer: "PreTrainedTokenizerBase", tokens_per_length_unit: int
) -> None:
    """Write a training record for each question, one per line."""
    with path.open("w", encoding="utf-8") as file:
        for question in questions:
            file.write(json.dumps(as_record(question, tokenizer, tokens_per_length_unit)) + "\n")
