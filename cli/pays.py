"""`planned-diffusion pays`: does planning pay for these prompts? Both ways side by side, and a plain sentence."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from .model_names import checkpoint_of
from .options import Model, Output, check_writable, quiet
from .progress import progress_bar

COUNT = 100  # prompts


@dataclass(frozen=True)
class Sampling:
    """Options for the sample, and for how its prompts are answered."""

    model: Model = None
    base: Annotated[
        str | None,
        Option(metavar="NAME", help="Checkpoint that scores the answers; default: the model's own base, or itself."),
    ] = None
    count: Annotated[int, Option(help="Number of prompts to draw from the file, at random but always the same.")] = (
        COUNT
    )
    batch_size: Annotated[int, Option(help="Prompts answered together; 1: as for one reader who waits.")] = 1
    max_new_tokens: Annotated[int, Option(help="Most tokens of an answer, plan included.")] = 256
    temperature: Annotated[
        float | None,
        Option(help="Sampling temperature of both ways; 0: greedy.", show_default="as the checkpoint says"),
    ] = None
    everything: Annotated[bool, Option("--all", help="All settings with plans, not only a few.")] = False
    decoding: Annotated[
        str | None, Option(metavar="NAME", help="Plan with this decoder only, at all its settings.")
    ] = None
    tolerance: Annotated[
        float, Option(help="Nats per token that planned answers may be less likely than left to right.")
    ] = 0.5
    keep: Annotated[
        Path | None, Option(metavar="FILE", help="Write every answer at once; a run with the same file continues.")
    ] = None


def pays(
    prompts: Annotated[
        Path,
        Argument(metavar="PROMPTS", help="File of prompts: JSONL (prompt, messages or instruction) or one per line."),
    ],
    sampling: Sampling,
    output: Output,
) -> None:
    """Find out whether planning pays for some prompts: a sample is answered left to right and with plans.

    Prints plans, critical path, forwards, seconds and quality side by side with intervals, and the verdict.
    """
    if sampling.keep:
        check_writable(sampling.keep, "--keep")
    source = checkpoint_of(sampling.model, output.debug)
    base = checkpoint_of(sampling.base, output.debug) if sampling.base else None
    quiet(output.debug)
    from ..evaluation.both_ways import does_it_pay
    from ..evaluation.text_settings import TextEvaluation

    evaluation = TextEvaluation(
        model=source,
        prompts=prompts,
        given_base=base,
        count=sampling.count,
        batch_size=sampling.batch_size,
        max_new_tokens=sampling.max_new_tokens,
        temperature=sampling.temperature,
        everything=sampling.everything,
        decoding=sampling.decoding,
        as_json=output.as_json,
        bar=progress_bar,
    )
    does_it_pay(evaluation, sampling.keep, sampling.tolerance)
