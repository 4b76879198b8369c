"""Compare a model before and after a run: its loss, one answer, its plans. The last line of a run tells the result.

Warnings above it tell faults: a loss that stayed, rose or is no number, plans that the grammar accepts no
longer, and gradients that were zero or exploded (gradient_norms.py).
"""

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import torch
from transformers import (
    PreTrainedTokenizerBase,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)

from ..configuration_planned_diffusion import PlannedDiffusionConfig
from ..modeling_planned_diffusion import PlannedDiffusionForCausalLM
from .adapters import without_needless_casts
from .collator import PlannedDiffusionCollator
from .examples import Example
from .loss import planned_diffusion_loss
from .samples import DECODING, free_plan, is_well_formed
from .trainer import PlannedDiffusionTrainer

RECORDS = 8  # whose loss is compared
PLANS = 4  # prompts whose plans are looked at
NEW_TOKENS = 96
SHOWN = 70  # characters of a prompt or answer
UNCHANGED = 1e-6  # relative difference of two losses of the same weights, on whatever device


def may_look(frozen: str | None, on_cpu: bool) -> bool:
    """Tell whether a model may be run between its steps: on a CPU that spoils 4-bit weights (`check_evaluation`).

    Args:
        frozen: the quantisation of the frozen weights, None for ordinary numbers.
    """
    return not (on_cpu and frozen in ("nf4", "fp4"))


@dataclass(frozen=True)
class Look:
    """A model at one moment.

    loss: nats per token, mean over the same draws of the same records.
    answer: to the same prompt; None where answers are those of the base, or the loss is no number.
    well_formed: share of free plans (samples.py) that the grammar accepts, as (accepted, all).
    """

    step: int
    loss: float
    answer: str | None
    well_formed: tuple[int, int]


class Checkup(TrainerCallback):
    """A callback that looks at the model when training begins; `report` looks again and tells the difference.

    All processes look, because weights may be sharded over them; the first one reports. Sharded weights write no text
    here: they would be gathered anew for every token.

    Args:
        trainer: of the run; its collator draws the records, as in evaluations.
        examples: records to look at, of which the first few count.
        answers: whether text is compared too; a gated adapter leaves it as it is.
    """

    def __init__(
        self,
        trainer: PlannedDiffusionTrainer,
        examples: Sequence[Example],
        tokenizer: PreTrainedTokenizerBase,
        answers: bool = True,
    ) -> None:
        self.trainer, self.tokenizer = trainer, tokenizer
        collator = cast(PlannedDiffusionCollator, trainer.data_collator)
        self.collator = replace(collator, examples=examples[:RECORDS], is_evaluation=True)
        planned = [one for one in examples if one.is_tagged] or examples
        is_sharded = trainer.is_fsdp_enabled or trainer.is_deepspeed_enabled
        writes = answers and not is_sharded
        self.prompts = [one.ids[: one.prompt_length].tolist() for one in planned[:PLANS]] if writes else []
        self.before: Look | None = None

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self.before = self._look()

    def report(self) -> None:
        """Print what is wrong with the run as warnings, and then one line that compares before and after."""
        tell = self.trainer.accelerator.print
        faults = self.trainer.gradient_norms.faults()
        after = None if self.before is None else self._look()
        if self.before is not None and after is not None:
            faults += faults_between(self.before, after)
        for fault in faults:
            tell(f"warning: {fault}", file=sys.stderr)
        if self.before is None or after is None:
            tell("Before and after were not compared: on a CPU that would spoil weights in 4 bits.", flush=True)
        else:
            tell(self._comparison(self.before, after), flush=True)

    def _comparison(self, before: Look, after: Look) -> str:
        """Return the last line of a run."""
        records = len(self.collator.examples)
        line = f"Step {before.step} to {after.step}: loss {before.loss:.4g} -> {after.loss:.4g} on {records} records"
        if before.answer is None or after.answer is None:
            return f"{line}."
        asked = str(self.tokenizer.decode(self.prompts[0], skip_special_tokens=True))
        return f"{line}; {shortened(asked)} was answered {shortened(before.answer)}, now {shortened(after.answer)}."

    def _look(self) -> Look:
        """Return the model as it is now; random numbers and mode stay as they were."""
        model = cast(PlannedDiffusionForCausalLM, self.trainer.model)  # or with adapters, which generate alike
        device = self.trainer.args.device
        was_training = model.training
        model.eval()
        with (
            torch.random.fork_rng([device] if device.type == "cuda" else []),
            torch.no_grad(),
            self.trainer.compute_loss_context_manager(),
        ):
            loss = self._loss(model)
            prompts = self.prompts if math.isfinite(loss) else []
            plans = [free_plan(model, prompt) for prompt in prompts]
            answer = self._answer(model, prompts[0]) if prompts else None
        model.train(was_training)
        config = cast(PlannedDiffusionConfig, model.config)
        well_formed = (sum(is_well_formed(plan, config) for plan in plans), len(plans))
        return Look(self.trainer.state.global_step, loss, answer, well_formed)

    def _loss(self, model: PlannedDiffusionForCausalLM) -> float:
        """Return the mean loss of the records, a record at a time."""
        total, targets = 0.0, 0
        for index in range(len(self.collator.examples)):
            batch = {name: value.to(model.device) for name, value in self.collator([{"index": index}]).items()}
            with without_needless_casts(model, self.trainer.accelerator.mixed_precision):
                total += planned_diffusion_loss(model, batch).total.item()
            targets += int(batch["num_targets"])
        return total / max(1, targets)

    def _answer(self, model: PlannedDiffusionForCausalLM, prompt: list[int]) -> str:
        """Return the greedy answer to a prompt, without plan and tags."""
        room = model.config.get_text_config().max_position_embeddings - len(prompt)
        ids = model.generate(
            input_ids=torch.tensor([prompt], device=model.device),
            tokenizer=self.tokenizer,
            do_sample=False,
            decoding=DECODING,
            max_new_tokens=min(NEW_TOKENS, room),
        )
        assert isinstance(ids, torch.Tensor)
        return str(self.tokenizer.decode(ids[0, len(prompt) :], skip_special_tokens=True))


def faults_between(before: Look, after: Look) -> list[str]:
    """Return what became of a model that should not have, a sentence each."""
    found = []
    if not math.isfinite(after.loss):
        found.append(f"The loss is {after.loss} after training, so the model is broken; lower learning_rate.")
    elif math.isclose(before.loss, after.loss, rel_tol=UNCHANGED) and before.answer == after.answer:
        found.append(
            f"Training changed nothing: the loss is {after.loss:.6g} before and after; look at learning_rate, at the "
            "number of steps, and at the layers that are trained."
        )
    elif after.loss > before.loss:
        found.append(f"The loss rose from {before.loss:.4g} to {after.loss:.4g}; lower learning_rate.")
    (were, looked), (are, _) = before.well_formed, after.well_formed
    if after.well_formed[1] and are < were:
        found.append(
            f"Plans stopped being well formed: {were} of {looked} were before, {are} are now; lower learning_rate, or "
            "give more records with plans (less plain_share and block_share)."
        )
    return found


def shortened(text: str) -> str:
    """Return a text in quotes as one short line, without characters that a terminal would obey."""
    line = "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in " ".join(text.split()))
    return f'"{line if len(line) <= SHOWN else line[: SHOWN - 3] + "..."}"'
