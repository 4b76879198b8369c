"""Whether a model's drafts are worth their rows: said once per model, when enough of its guesses have been checked."""

import weakref
from collections.abc import Iterable
from dataclasses import dataclass

from torch import nn
from transformers.utils import logging

from .trace import Trace

logger = logging.get_logger(__name__)

ENOUGH = 32  # checked guesses of a next token
LEAST = 0.1  # share of them that is right where drafts pay: a row costs about as many tokens (guess_rows.py)


@dataclass
class GuessCount:
    """Guesses of the next token over all answers of a model so far."""

    checked: int = 0
    right: int = 0
    judged: bool = False


_counts: weakref.WeakKeyDictionary[nn.Module, GuessCount] = weakref.WeakKeyDictionary()


def judge_drafts(model: nn.Module, traces: Iterable[Trace]) -> None:
    """Count the guesses of finished answers; warn once where hardly any was right.

    Args:
        model: whose answers they are.
    """
    count = _counts.setdefault(model, GuessCount())
    for trace in traces:
        count.checked += sum(trace.drafts_checked[:1])
        count.right += sum(trace.drafts_accepted[:1])
    if count.judged or count.checked < ENOUGH:
        return
    count.judged = True
    if count.right < LEAST * count.checked:
        logger.warning(
            f"Of the first {count.checked} guesses of a next token {count.right} were right: this checkpoint was not "
            "trained to draft, and drafts hardly make it faster. The answers are right all the same; train a drafter "
            "(training/recipes/drafter.yaml), or choose a decoding without drafts."
        )
