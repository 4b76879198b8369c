"""Make training records from a model's own answers.

    python -m planned_diffusion.distillation OUT

Prompts of this project are answered by the untouched model, bad answers are dropped by stated rules, and the
independent parts of the others are found. Resumable: run the same command again after an interruption.
"""

import argparse
import json
import sys
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

from ..annotation.pipeline import AnnotationJob
from ..cli.main import report
from ..cli.model_names import checkpoint_of
from ..cli.options import quiet
from ..cli.progress import progress_bar
from .distill import distill
from .distillation_job import DistillationJob

# Decided here, or of other annotators than that by structure.
NOT_OPTIONS = ("source", "out", "folder", "annotator", "split", "limit", "llm", "price", "plain")


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    made = argparse.ArgumentParser(
        prog="python -m planned_diffusion.distillation", description=(__doc__ or "").split("\n\n", 2)[2]
    )
    made.add_argument("out", type=Path, metavar="OUT", help="folder that is filled; one that was begun is finished")
    made.add_argument("--model", default="smollm2", help="folder, Hub repository or name of the model that answers")
    made.add_argument("--count", type=int, default=7500, help="prompts to draw; may grow later (%(default)s)")
    made.add_argument("--seed", type=int, default=1, help="seed of the prompts and of the sampling (%(default)s)")
    made.add_argument("--held-out", action="store_true", help="draw prompts whose forms and topics training never has")
    made.add_argument("--prompts", type=Path, metavar="FILE", help="JSON Lines with prompts, in place of those drawn")
    made.add_argument("--pool", type=Path, metavar="FILE", help="JSON Lines whose publishable prompts are added")
    made.add_argument("--max-new-tokens", type=int, default=300, help="most tokens of a whole answer (%(default)s)")
    made.add_argument("--batch-size", type=int, default=96, help="prompts that are answered together (%(default)s)")
    made.add_argument(
        "--annotate",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help=f"option of the annotator, among {', '.join(annotation_options())}; may be repeated",
    )
    made.add_argument("--debug", action="store_true", help="show tracebacks and the messages of libraries")
    return made


def annotation_options() -> dict[str, Any]:
    """Return the options of the annotator that may be chosen, with their defaults."""
    chosen = (one for one in fields(AnnotationJob) if one.name not in NOT_OPTIONS and one.default is not MISSING)
    return {one.name: one.default for one in chosen}


def read_annotation(given: list[str]) -> dict[str, Any]:
    """Return options such as `unit=4` by name.

    Raises:
        ValueError: no such option, no value, or a word where a number belongs.
    """
    options, known = {}, annotation_options()
    for one in given:
        name, equals, value = one.partition("=")
        name = name.strip().replace("-", "_")
        if not equals or name not in known:
            raise ValueError(f"--annotate {one} is no option of the annotator; choose among {', '.join(known)}.")
        options[name] = value if isinstance(known[name], str) else _number(one, value)
    return options


def _number(given: str, value: str) -> int | float:
    try:
        return int(value) if value.strip().lstrip("-").isdigit() else float(value)
    except ValueError as error:
        raise ValueError(f"--annotate {given}: {value!r} is no number; give one.") from error


def job_of(args: argparse.Namespace) -> DistillationJob:
    """Return the run that a command line asks for.

    Raises:
        ValueError: a number below 1, or no such checkpoint.
    """
    for name in ("count", "max_new_tokens", "batch_size"):
        if getattr(args, name) < 1:
            raise ValueError(f"{name} is {getattr(args, name)}; give 1 or more.")
    return DistillationJob(
        out=args.out,
        model=checkpoint_of(args.model, args.debug),
        name=args.model,
        count=args.count,
        seed=args.seed,
        held_out=args.held_out,
        prompts=args.prompts,
        pool=args.pool,
        max_new_tokens=args.max_new_tokens,
        batch_size=args.batch_size,
        annotation=read_annotation(args.annotate),
    )


def run(args: argparse.Namespace) -> None:
    """Distil with a progress bar per stage, and print where the records are and what they hold."""
    quiet(args.debug)
    from rich.progress import MofNCompleteColumn

    made = distill(job_of(args), lambda title: progress_bar(title, MofNCompleteColumn()))
    counted = {name: made[name] for name in ("prompts", "failed", "dropped", "records", "planned")}
    print(f"{args.out / 'records.jsonl.gz'}: {json.dumps(counted)}")


def main(argv: list[str] | None = None) -> int:
    """Run the command line; return an exit status."""
    args = parser().parse_args(argv)
    try:
        run(args)
    except KeyboardInterrupt:
        print("Interrupted; the same command goes on.", file=sys.stderr)
        return 130
    except Exception as error:
        if args.debug:
            raise
        return report(error)
    return 0


if __name__ == "__main__":
    sys.exit(main())
