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
    5. The sum is divided by the number of plan, content and plain tokens of the whole optimisation step.

Data: JSONL, `{"messages": [{"role", "content"}, ...]}`; the last message is the answer, in plain or tagged text.

Launch:
    python -m planned_diffusion.training.sft --config recipe.yaml
    python -m planned_diffusion.training.sft --model path/to/checkpoint --train_file train.jsonl --output_dir runs/a
    torchrun --nproc_per_node 4 -m planned_diffusion.training.sft --config recipe.yaml
    python -m planned_diffusion.training.sft --config recipe.yaml --resume_from_checkpoint true

`recipe.yaml` holds the fields of `ScriptArguments` below and of TRL's `SFTConfig` (learning_rate, num_train_epochs,
per_device_train_batch_size, ...), flat; the command line wins over it. Defaults are SFTConfig's, so bf16 and activation
checkpointing are on: set `activation_checkpointing: false` for small models (older versions of transformers call it
`gradient_checkpointing`). `train_sampling_strategy: group_by_length` saves padding.

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
from pathlib import Path

import yaml
from transformers import AutoModelForCausalLM, AutoTokenizer, set_seed
from transformers.trainer_utils import get_last_checkpoint
from trl import SFTConfig, TrlParser

from ..configuration_planned_diffusion import PlannedDiffusionConfig
from ..generation.tokens import ControlTokens
from ..modeling_planned_diffusion import PlannedDiffusionForCausalLM
from .corruption import Objective
from .dataset import as_dataset, encode_records, read_records, within
from .interruption import SaveOnInterrupt
from .objective import PlannedDiffusionCollator
from .trainer import PlannedDiffusionTrainer
from .vocabulary import check_agreement, control_token_ids


@dataclass
class ScriptArguments:
    """What to train on what, and the fields of `corruption.Objective` (see there)."""

    train_file: str = field(metadata={"help": "JSONL file of records."})
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
    overlong: str = field(default="refuse", metadata={"help": "'refuse' or 'drop' records that do not fit max_length."})
    attn_implementation: str = field(default="sdpa", metadata={"help": "'sdpa', 'eager' or 'flex_attention'."})
    span_padding: list[int] = field(
        default_factory=lambda: [0, 10], metadata={"help": "Least and most [PAD] per span."}
    )
    fill_promised_room: bool = field(
        default=False, metadata={"help": "Pad spans to multiples of the length unit, as generation lays them out."}
    )
    noise_range: list[float] = field(default_factory=lambda: [1e-3, 1.0], metadata={"help": "Least and greatest t."})
    plan_loss_weight: float = field(default=1.0, metadata={"help": "Weight of a plan token."})
    span_next_token_weight: float = field(default=0.0, metadata={"help": "Weight of the next-token loss in spans."})
    plain_share: float = field(default=0.0, metadata={"help": "Probability of using a tagged record as plain text."})


def main(argv: list[str] | None = None) -> int:
    """Runs the script; 0 when training ended, 130 when it was interrupted (a checkpoint was then saved).

    Raises:
        ValueError: bad arguments, data or model, in a sentence.
    """
    script, args = TrlParser((ScriptArguments, SFTConfig)).parse_args_and_config(argv)
    set_seed(args.seed)
    model, tokenizer = load(script, args)
    control = ControlTokens.from_config(model.config)
    objective = objective_of(script, args, model.config)
    train = load_examples(script.train_file, script, args, model.config, tokenizer, control, objective)
    if not any(example.is_tagged for example in train):
        raise ValueError(
            f"{script.train_file} has no tagged answer, so nothing would teach planning; annotate it first, or "
            "train a plain model with TRL's own sft."
        )
    evaluation = None
    if script.eval_file is not None:
        evaluation = load_examples(script.eval_file, script, args, model.config, tokenizer, control, objective)
    return train_and_save(model, tokenizer, args, PlannedDiffusionCollator(objective, control), train, evaluation)


def load(script: ScriptArguments, args: SFTConfig):
    """The model, in float32 for mixed-precision training, and its tokenizer, checked against each other."""
    if (script.model is None) == (script.from_scratch is None):
        raise ValueError(
            "Give either model (a checkpoint to fine-tune) or from_scratch (a configuration file), not both."
        )
    source = script.tokenizer or script.model
    if source is None:
        raise ValueError("from_scratch needs a tokenizer that has the control tokens; give its path as tokenizer.")
    tokenizer = AutoTokenizer.from_pretrained(source, trust_remote_code=args.trust_remote_code)
    if script.from_scratch is not None:
        return new_model(script.from_scratch, tokenizer, script.attn_implementation), tokenizer
    model = AutoModelForCausalLM.from_pretrained(
        script.model,
        attn_implementation=script.attn_implementation,
        trust_remote_code=args.trust_remote_code,
        dtype="float32",
        **(args.model_init_kwargs or {}),
    )
    args.model_init_kwargs = None
    check_agreement(tokenizer, model.config)
    return model, tokenizer


def new_model(path: str, tokenizer, attn_implementation: str) -> PlannedDiffusionForCausalLM:
    """A randomly initialised model of the configuration in a YAML or JSON file, ids and vocabulary from the tokenizer.

    Raises:
        ValueError: no such file, or no mapping with a `backbone_config` in it.
    """
    if not Path(path).is_file():
        raise ValueError(f"There is no file {path}; from_scratch names a YAML or JSON file of configuration fields.")
    settings = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    if not isinstance(settings, dict) or "model_type" not in (settings.get("backbone_config") or {}):
        raise ValueError(f"{path} needs a mapping backbone_config with a model_type, such as qwen2, and its sizes.")
    sizes = {"vocab_size": len(tokenizer), **settings.pop("backbone_config")}
    if sizes["vocab_size"] < len(tokenizer):
        raise ValueError(
            f"{path}: vocab_size is {sizes['vocab_size']}, the tokenizer has {len(tokenizer)} tokens; leave it out."
        )
    ids = control_token_ids(tokenizer)
    sizes = {
        **sizes,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": ids["eos_token_id"],
        "pad_token_id": tokenizer.pad_token_id,
    }
    config = PlannedDiffusionConfig(backbone_config=sizes, **ids, **settings)
    config._attn_implementation = attn_implementation
    return PlannedDiffusionForCausalLM(config)


def objective_of(script: ScriptArguments, args: SFTConfig, config) -> Objective:
    return Objective(
        span_attention=config.span_attention,
        span_padding=tuple(script.span_padding),
        span_multiple=config.tokens_per_length_unit if script.fill_promised_room else 1,
        noise_range=tuple(script.noise_range),
        plan_loss_weight=script.plan_loss_weight,
        span_next_token_weight=script.span_next_token_weight,
        plain_share=script.plain_share,
        seed=args.seed if args.data_seed is None else args.data_seed,
    )


def load_examples(path, script, args, config, tokenizer, control, objective):
    """The encoded records of a file, those that do not fit refused or dropped."""
    most = config.get_text_config().max_position_embeddings
    most = most if args.max_length is None else min(most, args.max_length)
    examples = encode_records(read_records(path), tokenizer, control, source=f"{path}, record")
    fitting = within(examples, objective, most, script.overlong)
    dropped = len(examples) - len(fitting)
    if dropped:
        print(f"{path}: dropped {dropped} of {len(examples)} records that need more than {most} positions.")
    return fitting


def train_and_save(model, tokenizer, args: SFTConfig, collator, train, evaluation=None) -> int:
    """Trains on lists of `Example`, saves model and tokenizer into `args.output_dir`; 0, or 130 when interrupted."""
    interrupt = SaveOnInterrupt()
    trainer = PlannedDiffusionTrainer(
        model=model,
        args=args,
        collator=collator,
        train_dataset=as_dataset(train),
        eval_dataset=None if evaluation is None else as_dataset(evaluation),
        processing_class=tokenizer,
        callbacks=[interrupt],
    )
    trainer.train(resume_from_checkpoint=checkpoint_to_resume(args))
    code = 0 if interrupt.signal_name is None else 130
    if code:
        step = trainer.state.global_step
        trainer.accelerator.print(
            f"Interrupted by {interrupt.signal_name} after step {step}: saved {args.output_dir}/checkpoint-{step}. Run "
            "the same command with --resume_from_checkpoint true to go on from there.",
            file=sys.stderr,
        )
    else:
        trainer.save_model(args.output_dir)
        trainer.accelerator.print(f"Saved model and tokenizer to {args.output_dir}.")
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


def checkpoint_to_resume(args: SFTConfig) -> str | None:
    """The checkpoint folder that `resume_from_checkpoint` (true, false or a path) means; None to begin anew.

    Raises:
        ValueError: there is none.
    """
    asked = str(args.resume_from_checkpoint or "false")
    if asked.lower() == "false":
        return None
    found = asked
    if asked.lower() == "true":
        found = get_last_checkpoint(args.output_dir) if Path(args.output_dir).is_dir() else None
    if found is None or not Path(found).is_dir():
        raise ValueError(
            f"There is no checkpoint to resume from in {args.output_dir if found is None else found}; leave "
            "resume_from_checkpoint out to begin anew."
        )
    return found


if __name__ == "__main__":
    try:
        sys.exit(main())
    except ValueError as error:
        sys.exit(f"error: {error}")
