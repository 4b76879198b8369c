"""PlannedDiffusionTrainer: TRL's SFTTrainer with the planned-diffusion objective in place of its own loss.

The loss of an optimisation step is the weighted sum over all labels of all its batches and processes, divided by the
targets of all of them: how the step is cut into batches, accumulation steps and processes changes nothing.
"""

from contextlib import contextmanager
from dataclasses import replace

import torch
from transformers import TrainerCallback
from trl import SFTConfig, SFTTrainer

from .collator import PlannedDiffusionCollator
from .dataset import COLUMNS
from .length_grouping import LengthGroupedOrder
from .loss import planned_diffusion_loss
from .row import NEXT_TOKEN, PARTS, PLAIN, PLAN, SPAN

_LOGGED = {PLAN: "plan_loss", SPAN: "span_loss", NEXT_TOKEN: "next_token_loss", PLAIN: "plain_loss"}
# Settings of SFTConfig that would change loss or tokens behind our back or do nothing, and what they must be.
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
}


class PlannedDiffusionTrainer(SFTTrainer):
    """Trains on the examples of `dataset.as_dataset`.

    Logs `loss`, and per part in nats per token `plan_loss`, `span_loss` (masked content weighted by 1/t, over all
    content), and where they occur `plain_loss`, `next_token_loss`. Evaluation uses draws of its own, the same every
    time, and its losses are means over the tokens of the whole set.

    Args:
        collator: draws the training rows; evaluation uses a copy of it.
        args: `SFTConfig`; `train_sampling_strategy="group_by_length"` batches examples of similar length.

    Raises:
        ValueError: settings of `args` that this objective does not support.
    """

    loss_is_scaled_for_ga = True  # the loss is divided by the targets of the whole step

    def __init__(
        self,
        model,
        args: SFTConfig,
        collator: PlannedDiffusionCollator,
        train_dataset,
        eval_dataset=None,
        callbacks=(),
        **settings,
    ):
        for name, value in _REQUIRED.items():
            if getattr(args, name) != value:
                raise ValueError(
                    f"{name} is {getattr(args, name)!r}, which planned-diffusion training does not support; leave "
                    f"it out or set it to {value!r}."
                )
        # max_length is enforced on the records (dataset.within): a truncated plan would be no plan.
        args = replace(args, dataset_kwargs={"skip_prepare_dataset": True}, max_length=None)
        super().__init__(
            model=model,
            args=args,
            data_collator=collator,
            train_dataset=train_dataset,
            eval_dataset=eval_dataset,
            callbacks=[_Epochs(collator), *callbacks],
            **settings,
        )
        self._evaluation_collator = replace(collator, is_evaluation=True)
        # Per mode, on the device: loss sums [4] by part and their total, then the counts [4] and the normaliser.
        self._sums = {mode: torch.zeros(2, len(PARTS) + 1, device=args.device) for mode in ("train", "eval")}

    def _set_signature_columns_if_needed(self):
        self._signature_columns = list(COLUMNS)

    def _get_train_sampler(self, train_dataset=None):
        dataset = self.train_dataset if train_dataset is None else train_dataset
        if self.args.train_sampling_strategy != "group_by_length":
            return super()._get_train_sampler(dataset)
        seed = self.args.seed if self.args.data_seed is None else self.args.data_seed
        return LengthGroupedOrder(dataset["length"], self._train_batch_size, seed, lambda: self.data_collator.epoch)

    def get_eval_dataloader(self, eval_dataset=None):
        with self._collating_with(self._evaluation_collator):
            return super().get_eval_dataloader(eval_dataset)

    @contextmanager
    def _collating_with(self, collator):
        training_collator, self.data_collator = self.data_collator, collator
        try:
            yield
        finally:
            self.data_collator = training_collator

    def _get_num_items_in_batch(self, batch_samples, device):
        """The normaliser of an optimisation step: the targets of all its batches on all processes."""
        if not batch_samples:
            return None
        targets = sum(batch["num_targets"] for batch in batch_samples).to(device)
        if self.args.world_size > 1:
            targets = self.accelerator.gather(targets).sum() / (
                self.get_tp_size() * self.get_cp_size() * self.get_sp_size()
            )
        return targets

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        """The batch's part of the step's loss; without `num_items_in_batch` (evaluation) its own mean."""
        loss = planned_diffusion_loss(model, inputs, self.accelerator.unwrap_model(model))
        self._remember(loss, inputs)
        if num_items_in_batch is None:
            mean = loss.total / inputs["num_targets"].clamp(min=1)
        else:
            # DistributedDataParallel averages gradients over the processes; the sum is wanted.
            processes = self.accelerator.num_processes // self.get_tp_size()
            mean = loss.total / num_items_in_batch * processes
        return (mean, {"loss": mean}) if return_outputs else mean

    def _remember(self, loss, inputs):
        sums = self._sums["train" if self.model.training else "eval"]
        sums[0, :-1] += loss.by_part
        sums[0, -1] += loss.total.detach()
        sums[1, :-1] += inputs["part_targets"]
        sums[1, -1] += inputs["num_targets"]

    def log(self, logs: dict[str, float], start_time: float | None = None):
        """Adds the parts' means since the last call, over all processes: the only place where they leave the device."""
        mode = "train" if self.model.training else "eval"
        sums = self.accelerator.reduce(self._sums[mode], reduction="sum").tolist()
        self._sums[mode].zero_()
        losses = [key for key in logs if key.endswith("_loss") and key != "train_loss"]  # of an evaluation: eval_loss
        prefix = losses[0].removesuffix("loss") if losses else ""
        if mode == "train" or losses:
            logs.update(
                {prefix + name: sums[0][part] / sums[1][part] for part, name in _LOGGED.items() if sums[1][part]}
            )
        if losses and sums[1][-1]:
            logs[losses[0]] = sums[0][-1] / sums[1][-1]
        super().log(logs, start_time)


class _Epochs(TrainerCallback):
    """Tells the collator, before an epoch's loader starts, which epoch it draws for."""

    def __init__(self, collator: PlannedDiffusionCollator):
        self.collator = collator

    def on_epoch_begin(self, args, state, control, **kwargs):
        self.collator.epoch = int(state.epoch or 0)  # a run resumed inside an epoch has a fraction here
