"""Stopping criteria and logits processors of transformers, as the functions that a request calls."""

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import torch
from transformers import PreTrainedTokenizerBase
from transformers.generation.logits_process import LogitsProcessorList
from transformers.generation.stopping_criteria import MaxTimeCriteria, StoppingCriteriaList, StopStringCriteria

from .config import PlannedDiffusionGenerationConfig


def stopper(
    given: Any,
    generation_config: PlannedDiffusionGenerationConfig,
    tokenizer: PreTrainedTokenizerBase | None,
    device: torch.device,
) -> Callable[[list[int]], bool] | None:
    """Return a function that says, from prompt and text so far, whether the answer ends; None without criteria.

    Args:
        given: one criterion, a list of them, or None.
        generation_config: its max_time and stop_strings are criteria as well.
        tokenizer: spells the stop strings.
        device: where the criteria get the ids, int64 [1, N].

    Raises:
        ValueError: stop strings without a tokenizer.
    """
    criteria = StoppingCriteriaList([given] if callable(given) and not isinstance(given, list) else given or [])
    if generation_config.max_time is not None:
        criteria.append(MaxTimeCriteria(generation_config.max_time))
    strings = generation_config.stop_strings
    if strings is not None:
        if tokenizer is None:
            raise ValueError(
                "stop_strings are text and this model came without a tokenizer; pass tokenizer=... to generate."
            )
        criteria.append(_stop_strings(tokenizer, (strings,) if isinstance(strings, str) else tuple(strings)))
    if not criteria:
        return None

    def should_stop(ids: list[int]) -> bool:
        return bool(criteria(_row(ids, device), None).all())

    return should_stop


@lru_cache(maxsize=8)
def _stop_strings(tokenizer: PreTrainedTokenizerBase, strings: tuple[str, ...]) -> StopStringCriteria:
    """Cache the criterion: it reads the whole vocabulary, and most requests have the same strings."""
    return StopStringCriteria(tokenizer, list(strings))


def processor(given: Any) -> Callable[[list[int], torch.Tensor], torch.Tensor] | None:
    """Return a function that changes scores: (ids so far, float [1, V]) -> float [1, V]; None without processors.

    Args:
        given: one logits processor, a list of them, or None.
    """
    if not given:
        return None
    processors = given
    if not isinstance(given, LogitsProcessorList):
        processors = LogitsProcessorList([given] if callable(given) else given)

    def process(ids: list[int], scores: Any) -> torch.Tensor:
        return processors(_row(ids, scores.device), scores)

    return process


def _row(ids: list[int], device: torch.device) -> Any:
    """Return ids as transformers' callbacks want them, int64 [1, N]."""
    return torch.tensor([ids], device=device)
