"""Supervised fine-tuning with the planned-diffusion objective (arXiv 2510.18087, section 3), on TRL's SFTTrainer.

What is trained, at each use of a record:
    1. Each span gets `span_padding` [PAD] tokens at random before `</async>`, so that the model learns to end early;
       with `fill_promised_room` as many more as fill the room that its promise will give it.
    2. A noise level t is drawn from `noise_range` per span (sparse attention) or round (dense); each content token
       becomes the mask with probability t.
    3. Plan tokens are predicted left to right, with weight `plan_loss_weight`; masked content tokens from their left
       neighbour's row, with weight 1/t, the rest of the span and everything public in sight.
    4. With probability `plain_share` a tagged record is used as plain text instead: ordinary next-token training, which
       `decoding="autoregressive"` needs. Records without tags always are.
    5. With probability `block_share` a record is used as a plain answer in blocks, one of `block_sizes` tokens long,
       without tags and masked as in 2: what `block_diffusion`, `diffusion` and others without a plan need.
    6. The sum is divided by the number of plan, content and plain tokens of the whole optimisation step.

Data: JSONL, `{"messages": [{"role", "content"}, ...]}`; the last message is the answer, in plain or tagged text.

Launch:
    python -m planned_diffusion.training.sft --config recipe.yaml
    python -m planned_diffusion.training.sft --model path/to/checkpoint --train_file train.jsonl --output_dir runs/a
    torchrun --nproc_per_node 4 -m planned_diffusion.training.sft --config recipe.yaml
    python -m planned_diffusion.training.sft --config recipe.yaml --resume_from_checkpoint true

`resume_from_checkpoint` is a checkpoint's folder, true (the newest whole one in output_dir) or auto (the same, or begin
anew where there is none). Only a run that goes on from there may write into a folder that holds an earlier one's.

`recipe.yaml` holds the fields of `ScriptArguments` below, of TRL's `SFTConfig` (learning_rate, num_train_epochs,
per_device_train_batch_size, ...) and of `AdapterArguments` (adapters.py), flat; the command line wins over it. Defaults
are SFTConfig's, so bf16 and gradient checkpointing are on: set `gradient_checkpointing: false` for small models.
`packing: true` lets examples share rows, which saves padding and changes nothing else; `train_sampling_strategy:
group_by_length` saves some of it without. `use_peft: true` trains LoRA, with `load_in_4bit: true` QLoRA. With an
`eval_file` and an `eval_strategy`, a few prompts are answered at every evaluation (`samples.jsonl`). More in README.md
beside this file.

From scratch: `from_scratch: config.yaml` instead of `model:`; the file holds fields of `PlannedDiffusionConfig`, the
token ids and the vocabulary size come from the tokenizer:
    backbone_config: {model_type: qwen2, hidden_size: 256, intermediate_size: 768, num_hidden_layers: 6, ...}
    tokens_per_length_unit: 4
    span_attention: sparse

Ctrl-C or SIGTERM: the step is finished, a checkpoint is saved, and resuming from it gives bit for bit what the run
would have given without the interruption (same machine, same settings).
"""

import sys
from dataclasses import dataclass, field

from transformers import set_seed
from trl import SFTConfig

from ..generation.tokens import ControlTokens
from .adapters import AdapterArguments, check, lora_config
from .collator import PlannedDiffusionCollator
from .dataset import as_dataset, encode_records, numbered_records, within
from .interruption import SaveOnInterrupt
from .objective import Objective
from .promises import misfit
from .recipe import arguments
from .run_folder import check_output_folder, checkpoint_to_resume
from .samples import SampleAnswers
from .starting_point import check_source, load
from .trainer import PlannedDiffusionTrainer


@dataclass
class ScriptArguments:
    """What to train on what, and the fields of `corruption.Objective` (see there)."""

    train_file: list[str] = field(
        default_factory=list, metadata={"help": "JSONL file of records; several are joined. Required."}
    )
    model: str | None = field(
        default=None, metadata={"help": "Planned-diffusion checkpoint to fine-tune: path or repo."}
    )
    from_scratch: str | None = field(
        default=None, metadata={"help": "YAML or JSON file of configuration fields instead."}
    )
    tokenizer: str | None = field(
        default=None, metadata={"help": "Path or repo of the tokenizer; the model's by default."}
    )
    eval_file: str | None = field(default=None, metadata={"help": "JSONL file to evaluate on."})
    samples: int = field(default=4, metadata={"help": "Prompts of eval_file answered at every evaluation."})
    packed_length: int | None = field(
        default=None, metadata={"help": "Tokens per row with packing: true; by default twice max_length."}
    )
    overlong: str = field(default="refuse", metadata={"help": "'refuse' or 'drop' records that do not fit max_length."})
    attn_implementation: str = field(default="sdpa", metadata={"help": "'sdpa', 'eager' or 'flex_attention'."})
    span_padding: list[int] = field(
        default_factory=lambda: [0, 10], metadata={"help": "Least and most [PAD] per span."}
    )
    fill_promised_room: bool = field(
        default=False, metadata={"help": "Pad spans to multiples of the length unit, as generation lays them out."}
    )
    noise_range: list[float] = field(default_factory=lambda: [1e-3, 1.0], metadata={"help": "Least and greatest t."})
    fully_masked_share: float = field(default=0.0, metadata={"help": "Share of spans masked whole (t = 1)."})
    plan_loss_weight: float = field(default=1.0, metadata={"help": "Weight of a plan token."})
    span_next_token_weight: float = field(default=0.0, metadata={"help": "Weight of the next-token loss in spans."})
    complementary_masks: bool = field(
        default=True, metadata={"help": "A second view of every span, with masked and kept tokens swapped."}
    )
    plain_share: float = field(default=0.0, metadata={"help": "Probability of using a tagged record as plain text."})
    plain_start_weight: float = field(
        default=1.0, metadata={"help": "Weight of the first token of such an answer: smaller keeps the model planning."}
    )
    block_share: float = field(default=0.0, metadata={"help": "Probability of using a record's answer in blocks."})
    block_sizes: list[int] = field(
        default_factory=lambda: [4, 8, 16, 32], metadata={"help": "Tokens of a block; one is drawn at each use."}
    )


def main(argv: list[str] | None = None) -> int:
    """Runs the script; 0 when training ended, 130 when it was interrupted (a checkpoint was then saved).

    Raises:
        ValueError: bad arguments, data or model, in a sentence.
    """
    script, args, adapter = arguments((ScriptArguments, SFTConfig, AdapterArguments), argv)
    check_script(script, args)
    check(adapter, evaluates=args.eval_strategy != "no", on_cpu=args.device.type == "cpu")
    check_source(script, adapter)
    checkpoint = checkpoint_to_resume(args)
    check_output_folder(args.output_dir, script.model, checkpoint)
    set_seed(args.seed)
    model, tokenizer = load(script, args, adapter)
    control = ControlTokens.from_config(model.config)
    objective = objective_of(script, args, model.config)
    files = [script.train_file] if isinstance(script.train_file, str) else script.train_file

    def examples_of(path):
        return load_examples(path, script, args, model.config, tokenizer, control, objective)

    train = [example for path in files for example in examples_of(path)]
    check_plans(train, " and ".join(files))
    evaluation = None if script.eval_file is None else examples_of(script.eval_file)
    collator = PlannedDiffusionCollator(objective, control, packed_length=packed_length(script, args, model.config))
    peft_config = lora_config(adapter, model)
    trainer, interrupt = trainer_of(model, tokenizer, args, collator, train, evaluation, peft_config, script.samples)
    return train_and_save(trainer, interrupt, checkpoint)


def check_script(script: ScriptArguments, args: SFTConfig) -> None:
    """Refuses fields that nothing below would.

    Raises:
        ValueError: no train_file, evaluation without eval_file, a best model without evaluation, or a number that
            counts less than it can.
    """
    if not script.train_file:
        raise ValueError("There is no train_file; give a JSONL file of records with --train_file, or in the recipe.")
    if args.eval_strategy != "no" and script.eval_file is None:
        raise ValueError(
            f"eval_strategy is {args.eval_strategy.value} and there is no eval_file; give one, or set eval_strategy no."
        )
    if args.load_best_model_at_end and args.eval_strategy == "no":
        raise ValueError(
            "load_best_model_at_end is set and nothing is evaluated, so no model is the best; set eval_strategy and "
            "eval_file."
        )
    if args.gradient_accumulation_steps < 1:
        raise ValueError(f"gradient_accumulation_steps is {args.gradient_accumulation_steps}; give at least 1.")
    if script.samples < 0:
        raise ValueError(f"samples is {script.samples}; give a number of prompts, at least 0.")
    if script.packed_length is not None and script.packed_length < 1:
        raise ValueError(
            f"packed_length is {script.packed_length}; give a number of tokens, at least 1 (no row is shorter than the "
            "longest record of its batch)."
        )


def check_plans(examples, source: str) -> None:
    """Refuses data that cannot teach planning.

    Raises:
        ValueError: no tagged answer, or none with two spans in a round.
    """
    if not any(example.is_tagged for example in examples):
        raise ValueError(
            f"{source} has no tagged answer, so nothing would teach planning; annotate it first (planned-diffusion "
            "annotate), or train a plain model with TRL's own sft."
        )
    if not any(example.most_spans > 1 for example in examples):
        raise ValueError(
            f"No answer of {source} has two spans in a round, so nothing would teach writing in parallel; annotate "
            "answers that have independent parts."
        )


def packed_length(script: ScriptArguments, args: SFTConfig, config) -> int | None:
    """Tokens per packed row, None without packing; room for a longest record with the noisy copy of all of it."""
    if not args.packing:
        return None
    args.packing = False  # done by the collator: TRL would pack ids and know nothing of spans
    return script.packed_length or 2 * _most_positions(args, config)


def objective_of(script: ScriptArguments, args: SFTConfig, config) -> Objective:
    return Objective(
        span_attention=config.span_attention,
        span_padding=tuple(script.span_padding),
        span_multiple=config.tokens_per_length_unit if script.fill_promised_room else 1,
        noise_range=tuple(script.noise_range),
        fully_masked_share=script.fully_masked_share,
        plan_loss_weight=script.plan_loss_weight,
        span_next_token_weight=script.span_next_token_weight,
        complementary_masks=script.complementary_masks,
        plain_share=script.plain_share,
        plain_start_weight=script.plain_start_weight,
        block_share=script.block_share,
        block_sizes=tuple(script.block_sizes),
        seed=args.seed if args.data_seed is None else args.data_seed,
    )


def load_examples(path, script, args, config, tokenizer, control, objective):
    """The encoded records of a file, those that do not fit refused or dropped."""
    most = _most_positions(args, config)
    numbers, records = zip(*numbered_records(path), strict=True)
    examples = encode_records(records, tokenizer, control, f"{path}, line", numbers)
    fault = misfit(records, examples, config.tokens_per_length_unit)
    if fault is not None and args.process_index == 0:
        remedy = f"annotate it for this model (planned-diffusion annotate --model {script.model or script.tokenizer})"
        print(f"warning: {path}: {fault}; {remedy}.", file=sys.stderr)
    fitting = within(examples, objective, most, script.overlong)
    dropped = len(examples) - len(fitting)
    if dropped:
        print(f"{path}: dropped {dropped} of {len(examples)} records that need more than {most} positions.")
    return fitting


def _most_positions(args: SFTConfig, config) -> int:
    positions = config.get_text_config().max_position_embeddings
    return positions if args.max_length is None else min(positions, args.max_length)


def trainer_of(model, tokenizer, args: SFTConfig, collator, train, evaluation, peft_config, samples: int):
    """The trainer on lists of `Example`, and what stops it at a signal."""
    interrupt = SaveOnInterrupt()
    trainer = PlannedDiffusionTrainer(
        model=model,
        args=args,
        collator=collator,
        train_dataset=as_dataset(train),
        eval_dataset=None if evaluation is None else as_dataset(evaluation),
        processing_class=tokenizer,
        callbacks=[interrupt],
        peft_config=peft_config,
    )
    if evaluation is not None and samples:
        trainer.add_callback(SampleAnswers(trainer, evaluation[:samples], tokenizer))
    return trainer, interrupt


def train_and_save(trainer: PlannedDiffusionTrainer, interrupt: SaveOnInterrupt, checkpoint: str | None) -> int:
    """Trains, from a checkpoint if one is given, and saves into the output folder; 0, or 130 when interrupted."""
    trainer.train(resume_from_checkpoint=checkpoint)
    folder = trainer.args.output_dir
    code = 0 if interrupt.signal_name is None else 130
    if code:
        step = trainer.state.global_step
        trainer.accelerator.print(
            f"Interrupted by {interrupt.signal_name} after step {step}: saved {folder}/checkpoint-{step}. Run "
            "the same command with --resume_from_checkpoint true to go on from there.",
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
    leave_the_process_group(trainer)
    return code


def leave_the_process_group(trainer: PlannedDiffusionTrainer):
    """Ends trackers and process group.

    What holds the group in C++ (DistributedDataParallel) must be gone before it: freed afterwards, it waits for gloo's
    threads while holding the interpreter lock that they need, and about one run in three hangs at its end.
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
