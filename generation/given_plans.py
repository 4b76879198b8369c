"""Plans that a caller gives: read into rounds, checked against the grammar and the vocabulary before anything runs."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from transformers import PreTrainedTokenizerBase

from .config import PlannedDiffusionGenerationConfig
from .plan import Plan, PlanError, Round, Span, Unit, parse_round, write_round
from .tokens import ControlTokens


class PlanReader:
    """Reads the argument `plan` of `generate`.

    Args:
        generation_config: the fields of this call.
        control: the checkpoint's control tokens.
        unit: tokens per promised number.
        tokenizer: encodes topics that are given as text; None where there is none.
        check_vocabulary: called with (a name, ids); raises ValueError for ids outside the vocabulary.

    Raises:
        ValueError: in every method, for a plan that cannot be used; the message says what to do.
    """

    def __init__(
        self,
        generation_config: PlannedDiffusionGenerationConfig,
        control: ControlTokens,
        unit: Unit,
        tokenizer: PreTrainedTokenizerBase | None,
        check_vocabulary: Callable[[str, Iterable[int]], None],
    ) -> None:
        self.generation_config, self.control, self.unit = generation_config, control, unit
        self.tokenizer, self.check_vocabulary = tokenizer, check_vocabulary

    def read(self, plan: Any, prompts: int) -> list[Plan | None]:
        """Return one plan per prompt; None where the model plans itself."""
        if plan is None:
            return [None] * prompts
        if not isinstance(plan, (list, tuple)) or len(plan) != prompts:
            got = f"has {len(plan)} entries" if isinstance(plan, (list, tuple)) else f"is a {type(plan).__name__}"
            raise ValueError(
                f"plan {got} for {prompts} prompts; give a list with one entry per prompt (a pipeline passes "
                "batch_size prompts at a time)."
            )
        return [None if entry is None else self._plan(entry) for entry in plan]

    def _plan(self, entry: Any) -> Plan:
        if isinstance(entry, Plan):
            entry = entry.rounds
        if not isinstance(entry, (list, tuple)) or not entry:
            raise PlanError(
                f"A plan is {entry!r}; give a list of rounds, each a list of (topic, length) or of token ids."
            )
        rounds = [self._round(given, index, is_last=index == len(entry) - 1) for index, given in enumerate(entry)]
        for one in rounds:
            self.check_vocabulary("A plan", one.plan_ids)
            for span in one.spans:
                self._check_skeleton(span)
        sync = self.control.sync
        early = [index for index, one in enumerate(rounds[:-1]) if one.terminator != sync]
        if early:
            raise PlanError(
                f"Round {early[0]} of a plan ends in EOS, but more rounds follow; end it in <sync/> ({sync})."
            )
        if not any(self._is_open(span) for one in rounds for span in one.spans):
            raise PlanError(
                "Every part of a plan is kept, so there is nothing to write; give at least one part a length."
            )
        return Plan(tuple(rounds))

    def _is_open(self, span: Span) -> bool:
        """Tell whether something is to be written into a span."""
        return span.skeleton is None or span.skeleton.has_blanks(self.control)

    def _round(self, given: Any, index: int, is_last: bool) -> Round:
        if isinstance(given, Round):
            return given
        if not isinstance(given, (list, tuple)):
            raise PlanError(f"Round {index} of a plan is {given!r}; give a list of (topic, length) or of token ids.")
        if given and all(isinstance(token, int) for token in given):
            return parse_round(given, self.control, self.unit)
        terminator = self.control.eos[0] if is_last else self.control.sync
        return write_round(given, terminator, self.control, self.unit, self._encode)

    def _check_skeleton(self, span: Span) -> None:
        if span.skeleton is None:
            return
        self.check_vocabulary("A canvas", span.skeleton.ids)
        if self._is_open(span) and not self.generation_config.decoder.fills_canvas:
            raise PlanError(
                f"decoding={self.generation_config.decoding!r} writes from left to right and cannot fill a canvas "
                "around known text; choose decoding='planned', or give lengths."
            )

    def _encode(self, text: str) -> Sequence[int]:
        if self.tokenizer is None:
            raise ValueError(
                f"The topic {text.strip()!r} is text and this model came without a tokenizer; pass tokenizer=... to "
                "generate, or give topics as token ids."
            )
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise ValueError(f"The text {text.strip()!r} of a plan holds half a character; use UTF-8.") from error
        return self.tokenizer.encode(text, add_special_tokens=False, split_special_tokens=True)
