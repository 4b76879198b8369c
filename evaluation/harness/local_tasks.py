"""Documents and scores of the tasks in tasks/*.yaml: nothing is downloaded, files of data are the user's.

    facts          held-out questions about countries; --metadata facts_count=500
    gsm8k          --metadata gsm8k_data=test.jsonl
    ifeval         --metadata ifeval_data=input_data.jsonl
    alpaca_eval    --metadata alpaca_data=prompts.jsonl

lm-eval calls a task's `documents` with the metadata and the arguments of the model, all in one. Importing this module
also registers the model class, so that `--model planned_diffusion --tasks tasks/facts.yaml` finds it.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from datasets import Dataset

from ...facts.generator import held_out_questions
from ...facts.metric import facts_right
from ...records.jsonl import json_lines
from ..alpaca_answers import alpaca_eval_prompt
from ..bootstrap import Term
from ..gsm8k import gsm8k_prompt, gsm8k_terms
from ..ifeval import ifeval_prompt, ifeval_terms
from ..measure import HELD_OUT_SEED
from . import lm_eval_model  # noqa: F401  # it registers `planned_diffusion`

Row = dict[str, Any]
Documents = dict[str, Dataset]

FACTS_COUNT = 500


def facts_documents(facts_count: int = FACTS_COUNT, **others: Any) -> Documents:
    """Return held-out questions; the same for the same count."""
    questions = held_out_questions(facts_count, HELD_OUT_SEED)
    rows = [
        {"prompt": one.prompt, "answer": one.answer.strip(), "index": index, "count": facts_count}
        for index, one in enumerate(questions)
    ]
    return {"test": Dataset.from_list(rows)}


def facts_results(doc: Row, results: Sequence[str]) -> dict[str, Any]:
    """Return the score of an answer: single facts as (right, all), and whether all are right."""
    question = held_out_questions(doc["count"], HELD_OUT_SEED)[doc["index"]]
    score = facts_right(question, results[0])
    return {"facts_right": (score.right, score.total), "answers_right": float(score.complete)}


def gsm8k_documents(gsm8k_data: str | None = None, **others: Any) -> Documents:
    """Return rows of GSM8K.

    Raises:
        ValueError: no file, or one with other rows.
    """
    return _documents(read_rows(gsm8k_data, "gsm8k_data", gsm8k_prompt), "prompt", "answer")


def gsm8k_results(doc: Row, results: Sequence[str]) -> dict[str, float]:
    """Return whether the last number of an answer is the right one."""
    return {"exact_match": float(gsm8k_terms(doc, results[0])["right"][0])}


def ifeval_documents(ifeval_data: str | None = None, **others: Any) -> Documents:
    """Return rows of IFEval.

    Raises:
        ValueError: no file, or one with other rows.
        RuntimeError: data that a check needs is missing.
    """
    return _documents(read_rows(ifeval_data, "ifeval_data", ifeval_prompt), "prompt", "instruction_id_list", "kwargs")


def ifeval_results(doc: Row, results: Sequence[str]) -> dict[str, Term | float]:
    """Return which instructions an answer follows, under lm-eval's names."""
    terms = ifeval_terms(doc, results[0])
    return {
        "prompt_level_strict_acc": float(terms["prompts, strict"][0]),
        "inst_level_strict_acc": terms["instructions, strict"],
        "prompt_level_loose_acc": float(terms["prompts, loose"][0]),
        "inst_level_loose_acc": terms["instructions, loose"],
    }


def alpaca_eval_documents(alpaca_data: str | None = None, **others: Any) -> Documents:
    """Return rows of AlpacaEval.

    Raises:
        ValueError: no file, or one with other rows.
    """
    return _documents(read_rows(alpaca_data, "alpaca_data", alpaca_eval_prompt), "prompt", "instruction", "dataset")


def alpaca_eval_results(doc: Row, results: Sequence[str]) -> dict[str, float]:
    """Return whether an answer has text; its words are for a judge, and stand in the samples (--log_samples)."""
    return {"with_text": float(bool(results[0].strip()))}


def ratio(terms: Sequence[Term]) -> float:
    """Return the sum of the first numbers over the sum of the second ones."""
    return sum(x for x, _ in terms) / sum(w for _, w in terms)


def _documents(rows: Sequence[Row], *names: str) -> Documents:
    return {"test": Dataset.from_list([{name: row.get(name) for name in names} for row in rows])}


def read_rows(path: str | None, name: str, prompt_of: Callable[[Mapping[str, Any]], str]) -> list[Row]:
    """Return the rows of a JSONL file with the prompt of each.

    Raises:
        ValueError: no file, no rows, or a row that is not one of this set (with its number).
    """
    if path is None:
        raise ValueError(f"The task needs its data, which is not downloaded; add --metadata {name}=FILE.")
    if not Path(path).is_file():
        raise ValueError(f"There is no file {path}; give {name} a JSONL file.")
    rows = []
    for number, row in json_lines(Path(path)):
        try:
            rows.append({**row, "prompt": prompt_of(row)})
        except ValueError as error:
            raise ValueError(f"{path}, line {number}: {error}") from error
    if not rows:
        raise ValueError(f"{path} holds no rows; write one JSON object per line.")
    return rows
