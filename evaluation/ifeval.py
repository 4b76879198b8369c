"""IFEval (arXiv 2311.07911): prompts with instructions that a program can check, by the checks of lm-eval.

A row has a `prompt`, the ids of its instructions (`instruction_id_list`) and their arguments (`kwargs`). Strict: the
answer as it is follows them. Loose: it does without its first or last line, or without asterisks.
"""

from collections.abc import Mapping
from typing import Any

from .bootstrap import Term

MISSING = "IFEval's checks come with lm-eval; run pip install 'planned-diffusion[lm-eval]'."
WITH_PUNKT = ("length_constraints:number_sentences", "change_case:capital_word_frequency")


def ifeval_prompt(row: Mapping[str, Any]) -> str:
    """Return the prompt of a row.

    Raises:
        ValueError: no prompt, or instructions that are not IFEval's.
        RuntimeError: lm-eval, or data that a check needs, is missing.
    """
    prompt, ids, arguments = (row.get(name) for name in ("prompt", "instruction_id_list", "kwargs"))
    if not isinstance(prompt, str) or not prompt.strip():
        raise ValueError("it has no prompt; give rows of IFEval, with prompt, instruction_id_list and kwargs.")
    if not isinstance(ids, list) or not isinstance(arguments, list) or not ids or len(ids) != len(arguments):
        raise ValueError("its instruction_id_list and kwargs are no lists of one length; give rows of IFEval.")
    known = _known_instructions()
    unknown = [name for name in ids if name not in known]
    if unknown:
        raise ValueError(
            f"its instruction {unknown[0]!r} is none of IFEval's; choose among {', '.join(sorted(known))}."
        )
    if any(name in WITH_PUNKT for name in ids):
        _check_punkt()
    return prompt


def ifeval_terms(row: Mapping[str, Any], text: str) -> dict[str, Term]:
    """Return what an answer adds: prompts whose instructions are all followed, and instructions that are followed.

    Raises:
        RuntimeError: lm-eval is missing.
    """
    _known_instructions()
    from lm_eval.tasks.ifeval.utils import process_results  # pyright: ignore[reportMissingImports]

    found = process_results({"key": 0, **row}, [text])
    terms: dict[str, Term] = {}
    for way in ("strict", "loose"):
        followed = found[f"inst_level_{way}_acc"]
        terms[f"prompts, {way}"] = (bool(found[f"prompt_level_{way}_acc"]), 1)
        terms[f"instructions, {way}"] = (sum(followed), len(followed))
    return terms


def _known_instructions() -> Mapping[str, Any]:
    """Return lm-eval's checks by the ids of their instructions."""
    try:
        from lm_eval.tasks.ifeval.instructions_registry import (  # pyright: ignore[reportMissingImports]
            INSTRUCTION_DICT,
        )
    except ImportError as error:
        raise RuntimeError(MISSING) from error
    return INSTRUCTION_DICT


def _check_punkt() -> None:
    """Raise RuntimeError where the data with which NLTK finds sentences and words is missing."""
    import nltk  # pyright: ignore[reportMissingImports]

    try:
        nltk.data.find("tokenizers/punkt_tab")
    except LookupError as error:
        raise RuntimeError(
            f"The checks {' and '.join(WITH_PUNKT)} need data of NLTK; run python -m nltk.downloader punkt_tab."
        ) from error
