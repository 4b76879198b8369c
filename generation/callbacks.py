"""Stopping criteria and logits processors of transformers, as the functions that a request calls."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from transformers import PreTrainedTokenizerBase
from transformers.generation.stopping_criteria import MaxTimeCriteria, StopStringCriteria

from .callback_rehearsal import rehearse
from .callback_rows import Callbacks, LockstepRows, RowAlone
from .config import PlannedDiffusionGenerationConfig
from .decoders.table import DECODERS, names_of
from .own_copies import own_copies
from .query import Lockstep


@dataclass(frozen=True)
class Asked:
    """Functions of one request, as `Request` describes them."""

    should_stop: Callable[[list[int]], bool] | None = None
    process: Callable[[list[int], torch.Tensor], torch.Tensor] | None = None
    lockstep: Lockstep | None = None


class CallbackReader:
    """Reads the arguments `logits_processor` and `stopping_criteria` of `generate`.

    Args:
        generation_config: its max_time and stop_strings are criteria as well.
        tokenizer: spells the stop strings.
        pad: the token behind rows that have ended; eos: the tokens that end one.
        vocabulary: the number of scores of a row.

    Raises:
        ValueError: in every method, for what cannot be called or cannot be right; the message says what to do.
    """

    def __init__(
        self,
        generation_config: PlannedDiffusionGenerationConfig,
        tokenizer: PreTrainedTokenizerBase | None,
        pad: int,
        eos: Sequence[int],
        vocabulary: int,
    ) -> None:
        self.generation_config, self.tokenizer = generation_config, tokenizer
        self.pad, self.eos, self.vocabulary = pad, eos, vocabulary

    def read(
        self,
        logits_processor: Any,
        stopping_criteria: Any,
        input_ids: torch.Tensor,
        prompts: Sequence[tuple[int, ...]],
    ) -> list[Asked]:
        """Return what each request calls.

        Args:
            logits_processor, stopping_criteria: one, a list of them, or None.
            input_ids: the prompts as the caller padded them, on the device where callbacks get them.
            prompts: the same without padding.
        """
        copies = self.generation_config.num_return_sequences or 1
        ids = input_ids.long().repeat_interleave(copies, 0)
        lengths = [len(prompt) for prompt in prompts for _ in range(copies)]
        processors = as_callbacks("logits_processor", logits_processor)
        criteria = as_callbacks("stopping_criteria", stopping_criteria)
        of_fields = self._criteria_of_fields()
        decoder, name = self.generation_config.decoder, self.generation_config.decoding
        if processors and not decoder.asks_processors:
            askers = names_of(name for name, decoder in DECODERS.items() if decoder.asks_processors)
            raise ValueError(
                f"decoding={name!r} writes no token left to right, so it has no use for logits_processor; leave it "
                f"out, or choose decoding={askers}."
            )
        if not processors and not criteria:
            alone = [RowAlone(0, ids[row : row + 1], length, (), of_fields) for row, length in enumerate(lengths)]
            return [Asked(one.should_stop if of_fields else None) for one in alone]
        if decoder.left_to_right:
            lockstep = LockstepRows(ids, self.pad, processors, [*criteria, *of_fields])
            return [Asked(lockstep.stopper(row), None, lockstep) for row in range(len(ids))]
        asked = []
        if len(ids) > 1:
            for copies in zip(*self._copies(processors, 2), strict=True):
                rehearse(copies, ids, self.vocabulary, self.eos)
        given = [*processors, *criteria]
        for row, copies in enumerate([given] if len(ids) == 1 else self._copies(given, len(ids))):
            mine = [*copies[len(processors) :], *of_fields]
            alone = RowAlone(row, ids, lengths[row], copies[: len(processors)], mine)
            asked.append(Asked(alone.should_stop if mine else None, alone.process if processors else None))
        return asked

    def _copies(self, given: Callbacks, count: int) -> list[list[Callable[..., Any]]]:
        """Return so many copies of what was given.

        Raises:
            ValueError: something that cannot be copied.
        """
        try:
            return own_copies(given, count)
        except Exception as error:  # of a caller's object: it may raise anything
            raise ValueError(
                f"Each answer of this batch needs a copy of every logits processor and stopping criterion, and one "
                f"cannot be copied ({error}); pass prompts one at a time, or choose decoding="
                f"{names_of(name for name, decoder in DECODERS.items() if decoder.left_to_right)}."
            ) from error

    def _criteria_of_fields(self) -> list[Callable[..., Any]]:
        criteria: list[Callable[..., Any]] = []
        if self.generation_config.max_time is not None:
            criteria.append(MaxTimeCriteria(self.generation_config.max_time))
        strings = self.generation_config.stop_strings
        if strings is not None:
            if self.tokenizer is None:
                raise ValueError(
                    "stop_strings are text and this model came without a tokenizer; pass tokenizer=... to generate."
                )
            criteria.append(_stop_strings(self.tokenizer, (strings,) if isinstance(strings, str) else tuple(strings)))
        return criteria


def as_callbacks(name: str, given: Any) -> list[Callable[..., Any]]:
    """Return one callable, a list of them, or None as a list.

    Raises:
        ValueError: something that cannot be called.
    """
    entries = [] if given is None else list(given) if isinstance(given, (list, tuple)) else [given]
    wrong = [entry for entry in entries if not callable(entry)]
    if wrong:
        raise ValueError(
            f"{name} holds {wrong[0]!r}, which cannot be called; give a function or an object that is called with "
            "(input_ids, scores), or a list of such."
        )
    return entries


@lru_cache(maxsize=8)
def _stop_strings(tokenizer: PreTrainedTokenizerBase, strings: tuple[str, ...]) -> StopStringCriteria:
    """Cache the criterion: it reads the whole vocabulary, and most requests have the same strings."""
    return StopStringCriteria(tokenizer, list(strings))
