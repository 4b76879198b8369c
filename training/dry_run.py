"""Describe a run without taking a step (`train --dry_run`): data, tags, steps, memory, and the first batch as text.

Model, records and trainer are those of the run, so that everything that a run refuses is refused here, and the first
batch is the one that the run begins with. Nothing is written: the trainer's folder is a temporary one.
"""

import statistics
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from tempfile import TemporaryDirectory
from typing import Any, cast

from transformers import PreTrainedModel, PreTrainedTokenizerBase, TrainingArguments
from trl.trainer.sft_config import SFTConfig

from ..configuration_planned_diffusion import PlannedDiffusionConfig
from ..generation.tokens import SPELLING
from .batch_text import batch_lines
from .collator import PlannedDiffusionCollator
from .examples import Example
from .run_memory import memory_lines
from .trainer import PlannedDiffusionTrainer, without_applied_settings


def dry_run(
    model: PreTrainedModel,
    args: SFTConfig,
    collator: PlannedDiffusionCollator,
    evaluation: Sequence[Example] | None,
    more: dict[str, Any],
) -> PlannedDiffusionTrainer:
    """Print what a run with these arguments would do; return its trainer, which has taken no step.

    Args:
        more: further arguments of the trainer; `processing_class` is the tokenizer.

    Raises:
        ValueError: settings that the trainer refuses, or no step to take.
    """
    with _dry_arguments(args) as apart:
        trainer = PlannedDiffusionTrainer(model, apart, collator, evaluation, **more)
        for line in run_lines(trainer, more["processing_class"], args.output_dir):
            trainer.accelerator.print(line, flush=True)
    return trainer


@contextmanager
def _dry_arguments(args: SFTConfig) -> Iterator[SFTConfig]:
    """Yield the arguments with a folder that vanishes, and without anything that would tell others of the run."""
    with TemporaryDirectory(prefix="planned-diffusion-") as folder:
        yield replace(without_applied_settings(args), output_dir=folder, report_to="none", push_to_hub=False)


def run_lines(trainer: PlannedDiffusionTrainer, tokenizer: PreTrainedTokenizerBase, folder: str | None) -> list[str]:
    """Return the description of a run, line by line.

    Args:
        folder: where the run would write.

    Raises:
        ValueError: no step to take.
    """
    collator = cast(PlannedDiffusionCollator, trainer.data_collator)
    loader = trainer.get_train_dataloader()
    steps = steps_of(trainer.args, len(loader))
    if not steps:
        raise ValueError(
            "There is no step to train; give more records, a smaller batch, or more max_steps or num_train_epochs."
        )
    batch = next(iter(loader))
    assert trainer.model is not None
    config = cast(PlannedDiffusionConfig, trainer.model.config)
    return [
        "Dry run: no step is taken, and nothing is written.",
        f"data     {examples_line(collator.examples)}",
        f"tags     {tags_line(config)}",
        f"steps    {steps_line(trainer, len(loader), steps)}",
        *memory_lines(cast(PreTrainedModel, trainer.model), trainer.args, batch),
        *batch_lines(batch, tokenizer, collator.control),
        f"A run would write to {folder}.",
    ]


def examples_line(examples: Sequence[Example]) -> str:
    """Return records, plans and lengths of the training data as one line."""
    planned = [one for one in examples if one.is_tagged]
    answers = [len(one.ids) - one.prompt_length for one in examples]
    line = f"{len(examples)} records: {len(planned)} with plans, {len(examples) - len(planned)} plain; "
    if planned:
        rounds = statistics.fmean(1 + one.promises[-1].round_index for one in planned)
        spans = statistics.fmean(len(one.promises) for one in planned)
        line += f"{rounds:.1f} rounds and {spans:.1f} spans per plan, at most {max(one.most_spans for one in planned)} "
        line += "side by side; "
    prompt, answer = statistics.median(one.prompt_length for one in examples), statistics.median(answers)
    return f"{line}a prompt has {prompt:.0f} tokens, an answer {answer:.0f} (medians), at most {max(answers)}"


def tags_line(config: PlannedDiffusionConfig) -> str:
    """Return the control tokens with their ids, and how promises count, as one line."""
    ids = ", ".join(f"{spelling} {getattr(config, name)}" for name, spelling in SPELLING.items())
    unit = config.tokens_per_length_unit
    return (
        f"{ids}, mask {config.mask_token_id}; a promised 1 is {unit} tokens; attention of spans {config.span_attention}"
    )


def steps_of(args: TrainingArguments, batches: int) -> int:
    """Return the optimisation steps of a run whose epoch has so many batches on each process."""
    if args.max_steps > 0:
        return args.max_steps if batches else 0
    per_epoch = -(-batches // args.gradient_accumulation_steps)
    return -int(-args.num_train_epochs * per_epoch // 1)


def steps_line(trainer: PlannedDiffusionTrainer, batches: int, steps: int) -> str:
    """Return how many optimisation steps a run takes, on how many records each, as one line."""
    args = trainer.args
    size, accumulated, processes = args.train_batch_size, args.gradient_accumulation_steps, args.world_size
    per_epoch = -(-batches // accumulated)
    return (
        f"{steps}, {per_epoch} per epoch; {size * accumulated * processes} records a step ({size} together, "
        f"{accumulated} accumulated, {processes} process{'es' if processes > 1 else ''}); learning rate "
        f"{args.learning_rate:g}, {getattr(args.lr_scheduler_type, 'value', args.lr_scheduler_type)}, "
        f"{args.get_warmup_steps(steps)} to warm up"
    )
