"""Builds the embedded checkpoint: tokenizer, data, training, evaluation, model card (`make checkpoint`).

Everything is deterministic for the seeds below. Resumable: after an interruption, run the same command again; training
continues from its last checkpoint.
"""

import argparse
import itertools
import json
import sys
from dataclasses import asdict
from pathlib import Path

import torch
from transformers import AutoTokenizer

from ..facts.generator import held_out_questions, training_questions
from ..facts.training_records import write_records
from ..generation.config import PlannedDiffusionGenerationConfig
from ..loading.tokenizer_origin import without_origin
from ..modeling_planned_diffusion import PlannedDiffusionForCausalLM
from ..training import sft
from .facts_card import write_facts_card
from .facts_tokenizer import train_tokenizer
from .measure import Evaluation
from .stamp import measurement_stamp
from .systems import evaluate_systems

VOCABULARY = 2048
TOKENIZER_EXAMPLES = 30_000
TRAINING_EXAMPLES = 150_000
# Many comparisons, whose verdicts are the hardest to learn, and many words that occur in no phrasing.
COMPARISON_SHARE, SCRAMBLED_SHARE = 0.5, 0.4
EVALUATION_EXAMPLES = 512
NEW_TOKENS = 320
SEED = 1
RECIPES = Path("training/recipes")
# Folder and recipe of each stage, which goes on with the model of the one before.
STAGES = (
    ("planner", RECIPES / "facts.yaml"),
    ("blocks", RECIPES / "facts_blocks.yaml"),
    ("model", RECIPES / "facts_drafts.yaml"),
)


def prepare_data(folder: Path, tokens_per_length_unit: int) -> None:
    """Write tokenizer, train.jsonl and eval.jsonl into `folder`, unless they exist."""
    if (folder / "train.jsonl").exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    texts = itertools.chain.from_iterable(
        (question.prompt, question.answer) for question in training_questions(TOKENIZER_EXAMPLES, SEED)
    )
    train_tokenizer(texts, VOCABULARY).save_pretrained(folder / "tokenizer")
    tokenizer = AutoTokenizer.from_pretrained(folder / "tokenizer")
    write_records(
        folder / "eval.jsonl", held_out_questions(EVALUATION_EXAMPLES, SEED), tokenizer, tokens_per_length_unit
    )
    partial = folder / "train.jsonl.partial"
    questions = training_questions(TRAINING_EXAMPLES, SEED, COMPARISON_SHARE, SCRAMBLED_SHARE)
    write_records(partial, questions, tokenizer, tokens_per_length_unit)
    partial.rename(folder / "train.jsonl")


def save_checkpoint(model_folder: Path, out: Path) -> PlannedDiffusionForCausalLM:
    """Save the trained model in bfloat16 with its tokenizer and decoding defaults, in Hub layout."""
    model = PlannedDiffusionForCausalLM.from_pretrained(model_folder, dtype=torch.bfloat16)
    tokenizer = without_origin(AutoTokenizer.from_pretrained(model_folder))
    model.generation_config = PlannedDiffusionGenerationConfig(
        do_sample=False,
        max_new_tokens=NEW_TOKENS,
        confidence_threshold=0.9,
        plan_lookahead=4,
        plan_drafts=8,
        draft_acceptance=0.9,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    model.save_pretrained(out)
    tokenizer.save_pretrained(out)
    return model


def train_stages(folder: Path, training_arguments: list[str]) -> int:
    """Run the unfinished stages, each from its last checkpoint if it has one; return an exit status."""
    start = ["--tokenizer", str(folder / "tokenizer")]
    for name, recipe in STAGES:
        out = folder / name
        if not (out / "model.safetensors").exists():
            given = ["--config", str(recipe), "--train_file", str(folder / "train.jsonl"), "--output_dir", str(out)]
            code = sft.main([*given, "--resume_from_checkpoint", "auto", *start, *training_arguments])
            if code:
                return code
        start = ["--model", str(out)]
    return 0


def write_results(model: PlannedDiffusionForCausalLM, out: Path) -> None:
    """Measure the saved checkpoint; write its model card and results.json."""
    measurements = evaluate_systems(Evaluation(str(out), EVALUATION_EXAMPLES))
    environment = measurement_stamp(model, batch_size=8) | {"command": "make checkpoint"}
    write_facts_card(out, measurements, environment, model.num_parameters() / 1e6, model.config.vocab_size)
    results = {"stamp": environment, "results": [asdict(row) for row in measurements]}
    (out / "results.json").write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


def main(argv: list[str] | None = None) -> int:
    """Run the command line; return an exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path("runs/facts"), help="where data and state are kept")
    parser.add_argument("--out", type=Path, default=Path("checkpoints/facts"), help="where the checkpoint is written")
    args, training_arguments = parser.parse_known_args(argv)
    prepare_data(args.folder, tokens_per_length_unit=8)
    code = train_stages(args.folder, training_arguments)
    if code:
        return code
    write_results(save_checkpoint(args.folder / "model", args.out), args.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
