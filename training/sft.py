"""Supervised fine-tuning with the planned-diffusion objective (arXiv 2510.18087, section 3), on TRL's SFTTrainer.

The objective, at each use of a record (fields and defaults: objective.py):
    1. Each span gets `span_padding` [PAD] tokens at random before `</async>`, so that the model learns to end early;
       with `fill_promised_room` as many more as fill the room that its promise will give it.
    2. A noise level t is drawn from `noise_range` per span (sparse attention) or round (dense); each content token
       becomes the mask with probability t. With `complementary_masks` a second view masks the other tokens.
    3. Plan tokens are predicted left to right, with weight `plan_loss_weight`; masked content tokens from their left
       neighbour's row, with weight 1/t, the rest of the span and everything public in sight.
    4. With probability `plain_share` a tagged record is used as plain text instead: ordinary next-token training, which
       `decoding="autoregressive"` needs. Records without tags always are.
    5. With probability `block_share` a record is used as a plain answer in blocks, one of `block_sizes` tokens long,
       without tags and masked as in 2: `block_diffusion`, `diffusion` and other decoders without a plan need that.
    6. With `draft_weight`, `draft_tokens` blanks behind each of `draft_anchors` tokens of every plan, span and plain
       answer learn to guess ahead, for speculative decoding (draft_rows.py).
    7. With `lora_gated`, LoRA acts on those blanks alone and nothing else is learnt: a drafter for a model whose own
       text stays as it is. Records need no tags then.
    8. The sum is divided by the number of plan, content and plain tokens of the whole optimisation step, with
       `lora_gated` of drafts.

Data: JSONL, `{"messages": [{"role", "content"}, ...]}`; the last message is the answer, in plain or tagged text.

Launch:
    python -m planned_diffusion.training.sft --config recipe.yaml
    python -m planned_diffusion.training.sft --model path/to/checkpoint --train_file train.jsonl --output_dir runs/a
    torchrun --nproc_per_node 4 -m planned_diffusion.training.sft --config recipe.yaml
    python -m planned_diffusion.training.sft --config recipe.yaml --resume_from_checkpoint true
    python -m planned_diffusion.training.sft --config recipe.yaml --dry_run

`resume_from_checkpoint` is a checkpoint's folder, true (the newest whole one in output_dir) or auto (the same, or begin
anew where there is none). Only a run that goes on from there may write into a folder that holds an earlier one's.

`recipe.yaml` is flat and holds fields of `ScriptArguments` (script_arguments.py), of `ObjectiveFields` (objective.py),
of TRL's `SFTConfig` (learning_rate, num_train_epochs, per_device_train_batch_size, ...) and of `AdapterArguments`
(adapters.py); the command line wins over it. Defaults are SFTConfig's, so bf16 and gradient checkpointing are on: set
`gradient_checkpointing: false` for small models. `packing: true` lets examples share rows, which saves padding and
changes nothing else; `train_sampling_strategy: group_by_length` saves some of it without. `use_peft: true` trains LoRA,
with `load_in_4bit: true` QLoRA. With an `eval_file` and an `eval_strategy`, a few prompts are answered at every
evaluation (`samples.jsonl`). More in docs/training.md.

From scratch: `from_scratch: config.yaml` instead of `model:`; the file holds fields of `PlannedDiffusionConfig`, the
token ids and the vocabulary size come from the tokenizer:
    backbone_config: {model_type: qwen2, hidden_size: 256, intermediate_size: 768, num_hidden_layers: 6, ...}
    tokens_per_length_unit: 4
    span_attention: sparse

Ctrl-C or SIGTERM: the step is finished, a checkpoint is saved, and a run that resumes from it ends bit for bit like one
that was never interrupted (same machine, same settings).
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

from transformers import PreTrainedTokenizerBase, set_seed
from trl.trainer.sft_config import SFTConfig

from ..configuration_planned_diffusion import PlannedDiffusionConfig
from ..generation.tokens import ControlTokens
from .adapters import AdapterArguments, check_adapter, check_evaluation, lora_config
from .best_metric import check_best_metric
from .checkup import Checkup, may_look
from .collator import PlannedDiffusionCollator
from .dataset import check_plans, encode_records, numbered_records, within
from .dry_run import dry_run
from .examples import Example
from .interruption import SaveOnInterrupt
from .model_options import model_options
from .objective import Objective, ObjectiveFields
from .opening import announce, quiet_libraries
from .promises import misfit
from .recipe import parse_arguments
from .run_folder import check_output_folder, checkpoint_to_resume
from .samples import SampleAnswers
from .script_arguments import ScriptArguments, check_script
from .starting_point import check_source, frozen_quantisation, load_starting_point
from .trainer import PlannedDiffusionTrainer, without_applied_settings


@dataclass(frozen=True)
class Run:
    """A run: its arguments, the objective, and the tokenizer and config of the model that it trains."""

    script: ScriptArguments
    args: SFTConfig
    objective: Objective
    tokenizer: PreTrainedTokenizerBase
    config: PlannedDiffusionConfig

    @property
    def control(self) -> ControlTokens:
        """Ids of the control tokens."""
        return ControlTokens.from_config(self.config)

    @property
    def most_positions(self) -> int:
        """Positions that an example may need."""
        positions = self.config.get_text_config().max_position_embeddings
        return positions if self.args.max_length is None else min(positions, self.args.max_length)

    @property
    def packed_length(self) -> int | None:
        """Tokens per packed row, None without packing; by default room for a longest record and a copy of all of it."""
        return (self.script.packed_length or 2 * self.most_positions) if self.args.packing else None


def main(argv: Sequence[str] | None = None) -> int:
    """Run the script; return 0 when training ended, 130 when it was interrupted (a checkpoint was then saved).

    Raises:
        ValueError: bad arguments, data or model, in a sentence.
    """
    with quiet_libraries():
        return train(argv)


def train(argv: Sequence[str] | None) -> int:
    """Train as the arguments say; see `main`."""
    script, fields, args, adapter = parse_arguments(
        (ScriptArguments, ObjectiveFields, SFTConfig, AdapterArguments), argv
    )
    check_script(script, args)
    evaluates, on_cpu = args.eval_strategy != "no", args.device.type == "cpu"
    check_adapter(adapter, evaluates, on_cpu)
    options = model_options(script, args, adapter)
    check_source(script, adapter, options)
    frozen = frozen_quantisation(script, adapter, options)
    check_evaluation(frozen, evaluates, on_cpu)
    checkpoint = checkpoint_to_resume(args)
    check_output_folder(args.output_dir, script.model, checkpoint)
    set_seed(args.seed)
    model, tokenizer = load_starting_point(script, args, adapter, options)
    config = cast(PlannedDiffusionConfig, model.config)
    seed = args.seed if args.data_seed is None else args.data_seed
    objective = Objective.for_model(fields, config, seed, drafts_alone=adapter.lora_gated)
    run = Run(script, args, objective, tokenizer, config)
    train = [example for path in script.train_files for example in load_examples(path, run)]
    if not objective.drafts_alone:
        check_plans(train, " and ".join(script.train_files))
    evaluation = None if script.eval_file is None else load_examples(script.eval_file, run)
    check_best_metric(args, evaluation, objective, script.samples)
    collator = PlannedDiffusionCollator(train, objective, run.control, packed_length=run.packed_length)
    more = {"processing_class": tokenizer, "peft_config": lora_config(adapter, model)}
    if script.dry_run:
        leave_the_process_group(dry_run(model, args, collator, evaluation, more))
        return 0
    interrupt = SaveOnInterrupt()
    trainer = PlannedDiffusionTrainer(
        model, without_applied_settings(args), collator, evaluation, callbacks=[interrupt], **more
    )
    if evaluation is not None and script.samples and not objective.drafts_alone:  # its text is the base's
        trainer.add_callback(SampleAnswers(trainer, evaluation[: script.samples], tokenizer))
    checkup = Checkup(trainer, evaluation or train, tokenizer, answers=not objective.drafts_alone)
    if may_look(frozen, on_cpu):
        trainer.add_callback(checkup)
    announce(trainer, script.model or "a new model", script.train_files)
    return train_and_save(trainer, interrupt, checkpoint, checkup)


def load_examples(path: str, run: Run) -> list[Example]:
    """Return the encoded records of a file; records that do not fit are refused or dropped."""
    numbers, records = zip(*numbered_records(path), strict=True)
    examples = encode_records(records, run.tokenizer, run.control, f"{path}, line", numbers)
    fault = None if run.objective.drafts_alone else misfit(examples, run.config.tokens_per_length_unit)
    if fault is not None and run.args.process_index == 0:
        model = run.script.model or run.script.tokenizer
        remedy = f"annotate it for this model (planned-diffusion annotate --model {model})"
        print(f"warning: {path}: {fault}; {remedy}.", file=sys.stderr)
    fitting = within(examples, run.objective, run.most_positions, run.script.overlong)
    dropped = len(examples) - len(fitting)
    if dropped:
        print(
            f"{path}: dropped {dropped} of {len(examples)} records that need more than {run.most_positions} positions."
        )
    return fitting


def train_and_save(
    trainer: PlannedDiffusionTrainer, interrupt: SaveOnInterrupt, checkpoint: str | None, checkup: Checkup
) -> int:
    """Train, from a checkpoint if one is given, and save into the output folder; return 0, or 130 when interrupted.

    The last line compares the model before and after.
    """
    trainer.train(resume_from_checkpoint=checkpoint)
    folder = trainer.args.output_dir
    code = 0 if interrupt.signal_name is None else 130
    if code:
        step = trainer.state.global_step
        going_on = "Run the same command with --resume_from_checkpoint true to go on from there."
        if trainer.args.save_only_model:
            going_on = "It holds the weights alone (save_only_model), so no run can go on from it."
        trainer.accelerator.print(
            f"Interrupted by {interrupt.signal_name} after step {step}: saved {folder}/checkpoint-{step}. {going_on}",
            file=sys.stderr,
        )
    elif not trainer.state.global_step:
        raise ValueError(
            "There was no step to train, so no model was saved; give more records, a smaller batch, or more "
            "max_steps or num_train_epochs."
        )
    else:
        trainer.save_model(folder)
        trainer.accelerator.print(f"Saved model and tokenizer to {folder}.")
    checkup.report()
    leave_the_process_group(trainer)
    return code


def leave_the_process_group(trainer: PlannedDiffusionTrainer) -> None:
    """End trackers and process group.

    The C++ side of DistributedDataParallel holds the group and must be gone before it: freed afterwards, it waits for
    gloo's threads while holding the interpreter lock that they need, and about one run in three hangs at its end.
    """
    trainer.accelerator.wait_for_everyone()
    trainer.model_wrapped = trainer.model
    trainer.accelerator.free_memory()
    trainer.accelerator.end_training()


if __name__ == "__main__":
    try:
        sys.exit(main())
    except ValueError as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        sys.exit(2)
