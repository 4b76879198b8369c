"""`planned-diffusion evaluate`: measure decoders on held-out facts, or on prompts of any kind."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from typer import Option

from .model_names import checkpoint_of
from .options import Model, Output, check_writable, quiet
from .progress import progress_bar

COUNT = 500  # held-out questions


@dataclass(frozen=True)
class Measuring:
    """Options for the measurement."""

    model: Model = None
    task: Annotated[
        Literal["facts", "text"],
        Option(help="facts: held-out questions with exact answers; text: the prompts of a file, without a judge."),
    ] = "facts"
    count: Annotated[
        int | None, Option(help="Number of prompts, from the first one on.", show_default="500; text: the whole file")
    ] = None
    decoding: Annotated[str | None, Option(metavar="NAME", help="Measure only systems with this decoder.")] = None
    batch_size: Annotated[int, Option(help="Prompts answered together.")] = 8
    everything: Annotated[bool, Option("--all", help="All decoders and settings, alone and in batches.")] = False
    plot: Annotated[Path | None, Option(metavar="FILE", help="Draw quality against cost; facts: with --all.")] = None
    keep: Annotated[
        Path | None,
        Option(
            metavar="FILE",
            help="Write every result (text: every answer) at once; a run with the same file continues. "
            "Facts: with --all.",
        ),
    ] = None


@dataclass(frozen=True)
class Texts:
    """Options for the task text."""

    panel: ClassVar[str] = "With --task text"
    prompts: Annotated[
        Path | None,
        Option(metavar="FILE", help="File of prompts: JSONL (prompt, messages or instruction) or a prompt per line."),
    ] = None
    base: Annotated[
        str | None,
        Option(
            metavar="NAME",
            help="Checkpoint that scores the answers, and answers beside the model; default: the model's own base.",
        ),
    ] = None
    max_new_tokens: Annotated[
        int | None, Option(help="Most tokens of an answer, plan included.", show_default="256")
    ] = None
    alone: Annotated[
        int | None,
        Option(help="Prompts, from the first one on, that are also answered one at a time.", show_default="100"),
    ] = None
    temperature: Annotated[
        float | None,
        Option(help="Sampling temperature of every system; 0: greedy.", show_default="as the checkpoints say"),
    ] = None


def evaluate(measuring: Measuring, texts: Texts, output: Output) -> None:
    """Measure decoders: quality, forwards, seconds; on held-out facts, or on the prompts of a file."""
    for option, file in (("--plot", measuring.plot), ("--keep", measuring.keep)):
        if file:
            check_writable(file, option)
            if measuring.task == "facts" and not measuring.everything:
                raise ValueError(f"{option} needs --all; give both.")
    if measuring.task == "text":
        evaluate_texts(measuring, texts, output)
    else:
        evaluate_facts(measuring, texts, output)


def evaluate_facts(measuring: Measuring, texts: Texts, output: Output) -> None:
    """Measure decoders on held-out facts."""
    for name, value in vars(texts).items():
        if value is not None:
            raise ValueError(f"--{name.replace('_', '-')} needs --task text; give both.")
    source = checkpoint_of(measuring.model, output.debug)
    quiet(output.debug)
    from ..evaluation.measure import Evaluation

    count = COUNT if measuring.count is None else measuring.count
    evaluation = Evaluation(source, count, measuring.batch_size, output.as_json, progress_bar)
    if measuring.everything:
        from ..evaluation.frontier import evaluate_variants

        evaluate_variants(evaluation, measuring.decoding, measuring.plot, measuring.keep)
    else:
        from ..evaluation.systems import evaluate_systems

        evaluate_systems(evaluation, measuring.decoding)


def evaluate_texts(measuring: Measuring, texts: Texts, output: Output) -> None:
    """Measure decoders on the prompts of a file."""
    if texts.prompts is None:
        raise ValueError("--task text needs --prompts FILE; give a file with a prompt per line.")
    source = checkpoint_of(measuring.model, output.debug)
    base = checkpoint_of(texts.base, output.debug) if texts.base else None
    quiet(output.debug)
    from ..evaluation.text_settings import ALONE, MAX_NEW_TOKENS, TextEvaluation
    from ..evaluation.text_task import evaluate_text

    evaluation = TextEvaluation(
        model=source,
        prompts=texts.prompts,
        given_base=base,
        count=measuring.count,
        batch_size=measuring.batch_size,
        max_new_tokens=MAX_NEW_TOKENS if texts.max_new_tokens is None else texts.max_new_tokens,
        alone=ALONE if texts.alone is None else texts.alone,
        temperature=texts.temperature,
        everything=measuring.everything,
        decoding=measuring.decoding,
        as_json=output.as_json,
        bar=progress_bar,
    )
    if evaluation.base is None:
        note("no base is known, so likelihoods are left out; name one with --base.")
    if measuring.keep is None:
        note("answers are not kept; --keep FILE writes them, and continues after an interruption.")
    evaluate_text(evaluation, measuring.plot, measuring.keep)


def note(text: str) -> None:
    """Print a note on standard error."""
    print(f"note: {text}", file=sys.stderr)
