"""Examples as training records: JSON Lines of messages whose answers are tagged."""

import json
from pathlib import Path

from ..records.encoding import encode_text
from ..records.tagged import write_tagged
from .generator import Example


def as_record(example: Example, tokenizer, tokens_per_length_unit: int) -> dict:
    """A training record: the prompt, and the answer in tagged text."""
    rounds = [[(part.topic, part.text) for part in parts] for parts in example.rounds]
    tagged = write_tagged(rounds, lambda text: len(encode_text(tokenizer, text)), tokens_per_length_unit)
    messages = [{"role": "user", "content": example.prompt}, {"role": "assistant", "content": tagged}]
    return {"messages": messages, "kind": example.kind}


def write_records(path: Path, examples, tokenizer, tokens_per_length_unit: int) -> None:
    with path.open("w", encoding="utf-8") as file:
        for example in examples:
            file.write(json.dumps(as_record(example, tokenizer, tokens_per_length_unit)) + "\n")
