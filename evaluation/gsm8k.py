"""GSM8K (arXiv 2110.14168): grade-school sums whose answer is a number.

A row has a `question`, and an `answer` that ends in "#### " and the number. An answer of a model is right where its
last number is that one, as in lm-eval's flexible extraction: "$1,234.50" and "1234.5" are equal.
"""

import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from .bootstrap import Term

NUMBER = re.compile(r"-?\$?(?:\d[\d,]*(?:\.\d+)?|\.\d+)")
MARK = "####"
REQUEST = "Think step by step, and end with the answer as a number."


def gsm8k_prompt(row: Mapping[str, Any]) -> str:
    """Return the prompt of a row: its question, and the request to reason and to end with a number.

    Raises:
        ValueError: no question, or an answer without its number.
    """
    question, answer = row.get("question"), row.get("answer")
    if not isinstance(question, str) or not question.strip():
        raise ValueError("it has no question; give rows of GSM8K, with question and answer.")
    if not isinstance(answer, str) or last_number(answer.rpartition(MARK)[2]) is None or MARK not in answer:
        raise ValueError(f"its answer does not end in {MARK!r} and a number; give rows of GSM8K.")
    return f"{question.strip()}\n\n{REQUEST}"


def gsm8k_terms(row: Mapping[str, Any], text: str) -> dict[str, Term]:
    """Return what an answer adds: whether it is right, and whether it has a number at all."""
    found, wanted = last_number(text), last_number(row["answer"].rpartition(MARK)[2])
    return {"right": (found is not None and found == wanted, 1), "with a number": (found is not None, 1)}


def last_number(text: str) -> Decimal | None:
    """Return the last number of a text; None where it has none."""
    numbers = NUMBER.findall(text)
    return Decimal(numbers[-1].replace("$", "").replace(",", "")) if numbers else None
