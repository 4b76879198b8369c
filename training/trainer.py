"""PlannedDiffusionTrainer: TRL's SFTTrainer with the planned-diffusion objective in place of its own loss.

The loss of an optimisation step is the weighted sum over all labels of all its batches and processes, divided by the
targets of all of them: how the step is cut into batches, accumulation steps and processes changes nothing.
"""

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import torch
from datasets import Dataset as ArrowDataset
from torch.utils.data import DataLoader, Dataset, Sampler
from transformers import (
    PreTrainedModel,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)
from trl.trainer.sft_config import SFTConfig
from trl.trainer.sft_trainer import SFTTrainer

from ..generation.draft_adapter import are_gated
from ..generation.draft_gate import gate_adapter
from ..loading.adapter_base import record_base
from .adapters import without_needless_casts
from .collator import PlannedDiffusionCollator
from .dataset import COLUMNS, as_dataset
from .examples import Example
from .gradient_norms import GradientNorms
from .length_grouping import LengthGroupedOrder
from .loss import Loss, planned_diffusion_loss
from .row import LOSS_NAMES, LOSS_PARTS

# Fields of SFTConfig that would change loss or tokens behind our back or do nothing -> the only value allowed.
_REQUIRED = {
    "packing": False,
    "eval_packing": None,
    "packing_strategy": "bfd",
    "padding_free": False,
    "completion_only_loss": None,
    "eos_token": None,  # these two would change the tokenizer after the records were encoded with it
    "chat_template_path": None,
    "label_smoothing_factor": 0.0,
    "assistant_only_loss": False,
    "use_liger_kernel": False,
    "loss_type": "nll",
    "dataloader_persistent_workers": False,  # a worker that outlives an epoch would repeat its draws
    "model_init_kwargs": None,  # the model is loaded already
    "pad_token": None,  # would change the tokenizer
    "router_aux_loss_coef": None,
    "dataset_kwargs": {"skip_prepare_dataset": True},  # the fields below are about TRL's preparation of data sets
    "dataset_text_field": "text",
    "dataset_num_proc": None,
    "shuffle_dataset": False,
    "truncation_mode": "keep_start",
    "length_column_name": "length",
}


class PlannedDiffusionTrainer(SFTTrainer):
    """A trainer of the collator's examples.

    Logs `loss`, and per loss part in nats per token `plan_loss`, `span_loss` (masked content weighted by 1/t, over all
    content), and where they occur `plain_loss`, `next_token_loss`, `draft_loss`. Evaluation uses draws of its own, the
    same every time, and its losses are means over the tokens of the whole set.

    Args:
        model: the model, or one with adapters; gated ones get their gate.
        args: `SFTConfig`; `train_sampling_strategy="group_by_length"` batches examples of similar length, and
            `pad_to_multiple_of` sets the collator's.
        collator: holds the training examples and draws their rows; evaluation uses a copy of it.
        evaluation: held-out examples.
        callbacks: callbacks of the Trainer.
        more: further arguments of `SFTTrainer`, such as `processing_class` and `peft_config`.

    Raises:
        ValueError: fields of `args` that this objective does not support.
    """

    loss_is_scaled_for_ga = True  # the loss is divided by the targets of the whole step

    def __init__(
        self,
        model: PreTrainedModel,
        args: SFTConfig,
        collator: PlannedDiffusionCollator,
        evaluation: Sequence[Example] | None = None,
        callbacks: Sequence[TrainerCallback] = (),
        **more: Any,
    ) -> None:
        # max_length is enforced on the records (dataset.within): a truncated plan would be no plan.
        args = replace(args, dataset_kwargs=args.dataset_kwargs or _REQUIRED["dataset_kwargs"], max_length=None)
        for name, value in _REQUIRED.items():
            if getattr(args, name) != value:
                raise ValueError(
                    f"{name} is {getattr(args, name)!r}, which planned-diffusion training does not support; leave "
                    f"it out or set it to {value!r}."
                )
        if args.pad_to_multiple_of is not None:
            collator = replace(collator, pad_to_multiple_of=args.pad_to_multiple_of)
        super().__init__(
            model=model,
            args=args,
            data_collator=collator,
            train_dataset=as_dataset(collator.examples),
            eval_dataset=None if evaluation is None else as_dataset(evaluation),
            callbacks=[_Epochs(collator), *callbacks],
            **more,
        )
        for name, settings in getattr(self.model, "peft_config", {}).items():
            if are_gated(settings):
                gate_adapter(self.model, name)
        self._evaluation_collator = replace(collator, examples=evaluation or (), is_evaluation=True)
        self.gradient_norms = GradientNorms()
        # Per mode, on the device: loss sums [5] by loss part and their total, then the counts [5] and the normaliser.
        self._sums = {mode: torch.zeros(2, len(LOSS_PARTS) + 1, device=args.device) for mode in ("train", "eval")}

    def _set_signature_columns_if_needed(self) -> None:
        self._signature_columns = list(COLUMNS)

    def _get_train_sampler(self, train_dataset: Dataset | None = None) -> Sampler[int] | None:
        if self.args.train_sampling_strategy != "group_by_length":
            return super()._get_train_sampler(train_dataset)
        seed = self.args.seed if self.args.data_seed is None else self.args.data_seed
        collator = cast(PlannedDiffusionCollator, self.data_collator)
        dataset = cast(ArrowDataset, self.train_dataset if train_dataset is None else train_dataset)
        return LengthGroupedOrder(dataset["length"], self._train_batch_size, seed, lambda: collator.epoch)

    def get_eval_dataloader(self, eval_dataset: str | Dataset | None = None) -> DataLoader:
        with self._collating_with(self._evaluation_collator):
            return super().get_eval_dataloader(eval_dataset)

    @contextmanager
    def _collating_with(self, collator: PlannedDiffusionCollator) -> Iterator[None]:
        """Use another collator for the loaders that are built inside."""
        training_collator, self.data_collator = self.data_collator, collator
        try:
            yield
        finally:
            self.data_collator = training_collator

    def _get_num_items_in_batch(
        self, batch_samples: list[dict[str, torch.Tensor]], device: torch.device
    ) -> torch.Tensor | None:
        """Return the normaliser of an optimisation step: the targets of all its batches on all processes."""
        if not batch_samples:
            return None
        targets = torch.stack([batch["num_targets"] for batch in batch_samples]).sum().to(device)
        if self.args.world_size > 1:
            gathered = cast(torch.Tensor, self.accelerator.gather(targets))
            targets = gathered.sum() / (self.get_tp_size() * self.get_cp_size() * self.get_sp_size())
        return targets

    def compute_loss(
        self,
        model: torch.nn.Module,
        inputs: dict[str, torch.Tensor],
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | None = None,
    ) -> torch.Tensor | tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """Return the batch's share of the step's loss; without `num_items_in_batch` (evaluation) its own mean."""
        unwrapped = self.accelerator.unwrap_model(model)
        with without_needless_casts(unwrapped, self.accelerator.mixed_precision):
            loss = planned_diffusion_loss(model, inputs, unwrapped)
        self._add_to_log(loss, inputs)
        if num_items_in_batch is None:
            mean = loss.total / inputs["num_targets"].clamp(min=1)
        else:
            # DistributedDataParallel averages gradients over the processes; this makes the average their sum.
            processes = self.accelerator.num_processes // self.get_tp_size()
            mean = loss.total / num_items_in_batch * processes
        return (mean, {"loss": mean}) if return_outputs else mean

    def _save(self, output_dir: str | None = None, state_dict: dict[str, Any] | None = None) -> None:
        """Save as inherited, and beside an adapter the hash of its base's weights."""
        with warnings.catch_warnings():
            # PEFT looks for a whole checkpoint's vocabulary where a drafter's base is an adapter.
            warnings.filterwarnings("ignore", "Could not find a config file in", UserWarning)
            super()._save(output_dir, state_dict)
        adapters = getattr(self.model, "peft_config", {})
        for base in {settings.base_model_name_or_path for settings in adapters.values()} - {None}:
            record_base(Path(output_dir or str(self.args.output_dir)), base)

    def _maybe_log_save_evaluate(
        self, tr_loss: torch.Tensor, grad_norm: torch.Tensor | float | None, *more: Any, **named: Any
    ) -> None:
        """Remember the norm of the last step's gradient, before clipping; called after steps and after epochs."""
        self.gradient_norms.add(self.state.global_step, grad_norm)
        super()._maybe_log_save_evaluate(tr_loss, grad_norm, *more, **named)

    def _mode(self) -> str:
        """Return the key of `_sums` to which a batch belongs now."""
        assert self.model is not None
        return "train" if self.model.training else "eval"

    def _add_to_log(self, loss: Loss, inputs: dict[str, torch.Tensor]) -> None:
        """Add a batch to the sums from which the next log is made."""
        sums = self._sums[self._mode()]
        sums[0, :-1] += loss.by_loss_part
        sums[0, -1] += loss.total.detach()
        sums[1, :-1] += inputs["loss_part_targets"]
        sums[1, -1] += inputs["num_targets"]

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Add the means of the loss parts since the last call, over all processes; only here they leave the device."""
        mode = self._mode()
        sums = cast(torch.Tensor, self.accelerator.reduce(self._sums[mode], reduction="sum")).tolist()
        self._sums[mode].zero_()
        # An evaluation's logs have its mean loss under "eval_loss", or under another prefix that evaluate() was given;
        # logs of training steps have "loss", and the last one of a run "train_loss".
        evaluated = next((key for key in logs if key.endswith("_loss") and key != "train_loss"), None)
        prefix = "" if evaluated is None else evaluated.removesuffix("loss")
        if mode == "train" or evaluated:
            logs |= {prefix + name: sums[0][part] / sums[1][part] for part, name in LOSS_NAMES.items() if sums[1][part]}
        if evaluated and sums[1][-1]:
            logs[evaluated] = sums[0][-1] / sums[1][-1]
        super().log(logs, start_time)


def without_applied_settings(args: SFTConfig) -> SFTConfig:
    """Return a copy of `args` for TRL without the settings that this script has applied itself.

    `packing`: the collator packs; TRL would join ids and lose the spans. `model_init_kwargs`: the model is loaded.
    """
    return replace(args, packing=False, model_init_kwargs=None)


class _Epochs(TrainerCallback):
    """A callback that sets the collator's epoch before the epoch's loader starts."""

    def __init__(self, collator: PlannedDiffusionCollator) -> None:
        self.collator = collator

    def on_epoch_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self.collator.epoch = int(state.epoch or 0)  # a run resumed inside an epoch has a fraction here
