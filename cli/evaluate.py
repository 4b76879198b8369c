"""`planned-diffusion evaluate`: measure decoders on held-out facts."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from typer import Option

from .model_names import checkpoint_of
from .options import Model, Output, check_writable, quiet


@dataclass(frozen=True)
class Measuring:
    """Options for the measurement."""

    model: Model = None
    count: Annotated[int, Option(help="Number of held-out prompts.")] = 500
    decoding: Annotated[str | None, Option(metavar="NAME", help="Measure only systems with this decoder.")] = None
    batch_size: Annotated[int, Option(help="Prompts answered together.")] = 8
    everything: Annotated[bool, Option("--all", help="All decoders and settings, alone and in batches.")] = False
    plot: Annotated[Path | None, Option(metavar="FILE", help="With --all: draw quality against cost.")] = None
    keep: Annotated[
        Path | None,
        Option(metavar="FILE", help="With --all: write every result at once; a run with the same file continues."),
    ] = None


def evaluate(measuring: Measuring, output: Output) -> None:
    """Measure decoders on held-out facts: right answers, forwards, seconds."""
    source = checkpoint_of(measuring.model, output.debug)
    for option, file in (("--plot", measuring.plot), ("--keep", measuring.keep)):
        if file:
            check_writable(file, option)
            if not measuring.everything:
                raise ValueError(f"{option} needs --all; give both.")
    quiet(output.debug)
    from ..evaluation.measure import Evaluation

    evaluation = Evaluation(source, measuring.count, measuring.batch_size, output.as_json)
    if measuring.everything:
        from ..evaluation.frontier import evaluate_variants

        evaluate_variants(evaluation, measuring.decoding, measuring.plot, measuring.keep)
    else:
        from ..evaluation.systems import evaluate_systems

        evaluate_systems(evaluation, measuring.decoding)
