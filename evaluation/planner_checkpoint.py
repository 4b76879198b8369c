"""Make the included adapter checkpoints/smollm2-planner from a finished training run.

    python -m planned_diffusion.evaluation.planner_checkpoint runs/smollm2-planner
    planned-diffusion evaluate --model smollm2-planner --task text --prompts held-out.jsonl --json > text.json
    python -m planned_diffusion.evaluation.planner_checkpoint runs/smollm2-planner --results text.json

The first call writes the adapter in bfloat16, its tokenizer, its decoding defaults and the course of its training; the
second one, when it has been measured, its results and its card.
"""

import argparse
import json
import shutil
import sys
from pathlib import Path
from typing import Any, cast

import torch
from safetensors.torch import load_file, save_file

from ..generation.config import PlannedDiffusionGenerationConfig
from ..loading.adapter_base import KEY, RECORD, base_by_name
from ..loading.bases import Base, conversion_of
from ..loading.embedded import CHECKPOINTS
from ..loading.json_object import read_object
from ..loading.load import load_tokenizer
from ..records.jsonl import json_lines
from ..records.tagged import is_tagged
from .planner_card import write_planner_card

WEIGHTS, CONFIG = "adapter_model.safetensors", "adapter_config.json"
RECORDS = CHECKPOINTS.parent / "training" / "recipes" / "smollm2_planner.jsonl.gz"
COURSE, RESULTS = "training.json", "results.json"
DEFAULTS: dict[str, Any] = {
    "decoding": "parallel_autoregressive",
    "plan_lookahead": 4,
    "distinct_topics": True,  # in lists, whose topics it has to invent, it plans the same part twice
    "length_scale": 2.0,  # it promises too little room for a whole sentence, and ends its parts by itself
    "max_new_tokens": 320,
    "do_sample": False,
}


def save_planner(run: Path, out: Path, note: str = "") -> None:
    """Write an adapter of a base by name in bfloat16, with tokenizer, defaults and the course of its training.

    Args:
        run: output folder of `train`, which holds the adapter and its last checkpoint.
        note: what its recipe does not say of the run.

    Raises:
        ValueError: no adapter of a base by name.
    """
    base = base_by_name(str(run)) if (run / CONFIG).is_file() else None
    if base is None:
        raise ValueError(f"{run} holds no adapter of a base by name; give the output folder of its training.")
    out.mkdir(parents=True, exist_ok=True)
    weights = {name: tensor.to(torch.bfloat16) for name, tensor in load_file(run / WEIGHTS).items()}
    save_file(weights, out / WEIGHTS, metadata={"format": "pt"})
    settings = json.loads((run / CONFIG).read_text(encoding="utf-8"))
    # A path of this machine would mean nothing on another one; the record beside it leads to the base as well.
    write_json(out / CONFIG, settings | {KEY: base.name})
    shutil.copyfile(run / RECORD, out / RECORD)
    load_tokenizer(str(run)).save_pretrained(out)
    defaults_above(base).save_pretrained(out)
    write_json(out / COURSE, course_of(run) | ({"note": note} if note else {}))


def defaults_above(base: Base) -> PlannedDiffusionGenerationConfig:
    """Return the decoding defaults: those of the base, with its special tokens, and those of a planner."""
    config = PlannedDiffusionGenerationConfig.from_pretrained(conversion_of(base))
    config.update(**DEFAULTS)
    return cast(PlannedDiffusionGenerationConfig, config)


def course_of(run: Path) -> dict[str, Any]:
    """Return the losses of a run, step by step, from its newest checkpoint.

    Raises:
        ValueError: it has no checkpoint.
    """
    states = sorted(run.glob("checkpoint-*/trainer_state.json"), key=lambda path: int(path.parent.name.split("-")[1]))
    if not states:
        raise ValueError(f"{run} holds no checkpoint-N/trainer_state.json; train with save_strategy steps.")
    state = json.loads(states[-1].read_text(encoding="utf-8"))
    return {"steps": state["global_step"], "epochs": state["epoch"], "log": state["log_history"]}


def records_in(path: Path) -> dict[str, int]:
    """Return how many records a file of them holds, and how many with a plan."""
    answers = [row["messages"][-1]["content"] for _, row in json_lines(path)]
    return {"records": len(answers), "planned": sum(map(is_tagged, answers))}


def write_json(path: Path, content: object) -> None:
    """Write JSON that a diff can show."""
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def main(argv: list[str] | None = None) -> int:
    """Run the command line; return an exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="output folder of the training")
    parser.add_argument(
        "--results", type=Path, help="what evaluate --task text --json printed; writes results and card"
    )
    parser.add_argument("--reading", type=Path, help="Markdown on answers that were read one by one, for the card")
    parser.add_argument("--note", default="", help="what the recipe does not say of the run, for the card")
    parser.add_argument("--out", type=Path, default=CHECKPOINTS / "smollm2-planner", help="folder of the checkpoint")
    args = parser.parse_args(argv)
    save_planner(args.run, args.out, args.note)
    if args.results is not None:
        results = json.loads(args.results.read_text(encoding="utf-8"))
        write_json(args.out / RESULTS, results)
        reading = args.reading.read_text(encoding="utf-8").strip() if args.reading else ""
        write_planner_card(
            args.out, results, read_object(args.out / COURSE, "make it again"), records_in(RECORDS), reading
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
