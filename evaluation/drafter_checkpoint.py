"""Make an included drafter, such as checkpoints/smollm2-planner-drafter, from a finished training run.

    planned-diffusion train --config training/recipes/smollm2_planner_drafter.yaml
    python -m planned_diffusion.evaluation.drafter_checkpoint runs/smollm2-planner-drafter --base smollm2-planner
    planned-diffusion train --config training/recipes/facts_drafter.yaml
    python -m planned_diffusion.evaluation.drafter_checkpoint runs/facts-drafter --base facts

It writes the adapter in bfloat16, the decoding defaults of its base with drafts in them, and the course of its training
into a folder beside that of its base. The tokenizer is the base's.
"""

import argparse
import json
import os
import sys
from pathlib import Path

from ..generation.config import PlannedDiffusionGenerationConfig
from ..generation.draft_adapter import is_gated
from ..loading.adapter_base import KEY, PLACE, RECORD, hash_of_weights, recorded
from ..loading.embedded import INCLUDED
from .planner_checkpoint import CONFIG, COURSE, course_of, save_weights, write_json


def save_drafter(run: Path, base: Path, out: Path) -> None:
    """Write a gated adapter of a checkpoint in bfloat16, with defaults and the course of its training.

    Args:
        run: output folder of `train`, which holds the adapter and its last checkpoint.
        base: folder of the checkpoint that it was trained on.

    Raises:
        ValueError: no gated adapter, one of other weights than those of `base`, or a run without checkpoints.
    """
    if not (run / CONFIG).is_file() or not is_gated(str(run)):
        raise ValueError(f"{run} holds no drafter; give the output folder of a training with lora_gated.")
    weights = hash_of_weights(base)
    if recorded(str(run)).get("weights_sha256") != weights:
        raise ValueError(f"The drafter in {run} was trained on other weights than those of {base}; name its base.")
    out.mkdir(parents=True, exist_ok=True)
    save_weights(run, out)
    settings = json.loads((run / CONFIG).read_text(encoding="utf-8"))
    write_json(out / CONFIG, settings | {KEY: base.name})
    place = Path(os.path.relpath(base.resolve(), out.resolve())).as_posix()
    write_json(out / RECORD, {"weights_sha256": weights, PLACE: place})
    defaults = PlannedDiffusionGenerationConfig.from_pretrained(base)
    defaults.update(decoding="parallel_speculative")
    defaults.save_pretrained(out)
    write_json(out / COURSE, course_of(run))


def main(argv: list[str] | None = None) -> int:
    """Run the command line; return an exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="output folder of the training")
    parser.add_argument("--base", choices=sorted(INCLUDED), required=True, help="included checkpoint that it is for")
    parser.add_argument("--out", type=Path, help="folder of the checkpoint; by default beside its base")
    args = parser.parse_args(argv)
    base = INCLUDED[args.base]
    save_drafter(args.run, base, args.out or base.with_name(f"{base.name}-drafter"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
