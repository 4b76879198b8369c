"""AlpacaEval (arXiv 2404.04475): instructions whose answers a judge compares with those of another model.

A row has an `instruction`, and the `dataset` that it comes from. This module writes the answers in the form of the tool
`alpaca_eval`, and calls its judge where that tool and a key are there.
"""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .bootstrap import Term
from .text_prompts import published_prompt

KEY = "OPENAI_API_KEY"
OUTPUTS = "model_outputs.json"


def alpaca_eval_prompt(row: Mapping[str, Any]) -> str:
    """Return the prompt of a row.

    Raises:
        ValueError: no instruction.
    """
    prompt = published_prompt(dict(row)) if "instruction" in row else None
    if not isinstance(prompt, str) or not prompt.strip():
        raise ValueError("it has no instruction; give rows of AlpacaEval, with instruction and dataset.")
    return prompt


def alpaca_eval_terms(row: Mapping[str, Any], text: str) -> dict[str, Term]:
    """Return what an answer adds without a judge: whether it has any text."""
    return {"with text": (bool(text.strip()), 1)}


def model_outputs(rows: Sequence[Mapping[str, Any]], texts: Sequence[str], generator: str) -> list[dict[str, str]]:
    """Return answers in the form of `model_outputs.json`.

    Args:
        generator: the name under which the tool lists them.
    """
    return [
        {
            "dataset": str(row.get("dataset", "")),
            "instruction": alpaca_eval_prompt(row),
            "output": text,
            "generator": generator,
        }
        for row, text in zip(rows, texts, strict=True)
    ]


def write_outputs(folder: Path, outputs: Sequence[Mapping[str, str]]) -> Path:
    """Write the answers into a folder, which is made; return the file."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / OUTPUTS
    path.write_text(json.dumps(outputs, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    return path


def check_judge() -> None:
    """Raise ValueError or RuntimeError where the judge cannot be asked, before anything is answered.

    Raises:
        ValueError: no key.
        RuntimeError: the tool is missing.
    """
    if not os.environ.get(KEY):
        raise ValueError(f"The judge of AlpacaEval needs a key in {KEY}; set it, or leave --judge out.")
    try:
        import alpaca_eval  # noqa: F401  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise RuntimeError("The judge of AlpacaEval is missing; run pip install alpaca-eval.") from error


def judge(outputs: Path, reference: Path | None, generator: str) -> None:
    """Ask the judge about a file of answers; its leaderboard is printed, and its annotations lie beside the file.

    Args:
        reference: answers to compare with; None: those of the tool, which it downloads.
    """
    from alpaca_eval import evaluate  # pyright: ignore[reportMissingImports]

    given = {} if reference is None else {"reference_outputs": str(reference)}
    evaluate(model_outputs=str(outputs), name=generator, output_path=str(outputs.parent), **given)
