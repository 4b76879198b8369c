"""The fields of the training script that say which data trains which model; refuses combinations that cannot run."""

from dataclasses import dataclass, field

from trl.trainer.sft_config import SFTConfig


@dataclass
class ScriptArguments:
    """Fields of the script that concern data, model and rows; the objective's fields stand in `ObjectiveFields`."""

    train_file: list[str] = field(
        default_factory=list,
        metadata={"help": "JSONL files of training records, plain or .gz, joined in this order. Required."},
    )
    model: str | None = field(
        default=None,
        metadata={"help": "Planned-diffusion checkpoint to fine-tune: a folder, a Hub repository, or smollm2."},
    )
    from_scratch: str | None = field(
        default=None,
        metadata={"help": "Train a new model: YAML or JSON file with fields of PlannedDiffusionConfig, without model."},
    )
    tokenizer: str | None = field(
        default=None, metadata={"help": "Folder or Hub repository of the tokenizer; default: the model's."}
    )
    eval_file: str | None = field(default=None, metadata={"help": "JSONL file of records to evaluate on, or .gz."})
    samples: int = field(
        default=4, metadata={"help": "Number of prompts of eval_file that are answered at every evaluation."}
    )
    packed_length: int | None = field(
        default=None, metadata={"help": "Tokens per packed row, with packing: true; default: twice max_length."}
    )
    overlong: str = field(
        default="refuse", metadata={"help": "'refuse' or 'drop' the records that do not fit max_length."}
    )
    attn_implementation: str | None = field(
        default=None, metadata={"help": "Attention implementation: 'sdpa' (default), 'eager' or 'flex_attention'."}
    )

    dry_run: bool = field(
        default=False,
        metadata={"help": "Print data, tags, steps, memory and the first batch, and stop; no step is taken."},
    )

    @property
    def train_files(self) -> list[str]:
        """The training files; a recipe may name one without a list."""
        return [self.train_file] if isinstance(self.train_file, str) else self.train_file


def check_script(script: ScriptArguments, args: SFTConfig) -> None:
    """Reject settings that no later step would catch.

    Raises:
        ValueError: no train_file, evaluation without eval_file, a best model without evaluation, or a number below its
            least value.
    """
    if not script.train_file:
        raise ValueError("There is no train_file; give a JSONL file of records with --train_file, or in the recipe.")
    if args.eval_strategy != "no" and script.eval_file is None:
        strategy = getattr(args.eval_strategy, "value", args.eval_strategy)
        raise ValueError(f"eval_strategy is {strategy} and there is no eval_file; give one, or set eval_strategy no.")
    if args.load_best_model_at_end and args.eval_strategy == "no":
        raise ValueError(
            "load_best_model_at_end is set and nothing is evaluated, so no model is the best; set eval_strategy and "
            "eval_file."
        )
    if args.gradient_accumulation_steps < 1:
        raise ValueError(f"gradient_accumulation_steps is {args.gradient_accumulation_steps}; give at least 1.")
    if isinstance(args.pad_to_multiple_of, int) and args.pad_to_multiple_of < 1:
        raise ValueError(f"pad_to_multiple_of is {args.pad_to_multiple_of}; give a number of tokens, at least 1.")
    if script.samples < 0:
        raise ValueError(f"samples is {script.samples}; give a number of prompts, at least 0.")
    if script.packed_length is not None and script.packed_length < 1:
        raise ValueError(
            f"packed_length is {script.packed_length}; give a number of tokens, at least 1 (no row is shorter than the "
            "longest record of its batch)."
        )
