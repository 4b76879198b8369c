"""`planned-diffusion evaluate`: measure decoders on held-out facts, on prompts of any kind, or on standard tasks."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from typer import Option

from .model_names import checkpoint_of
from .options import Model, Output, check_writable, quiet
from .progress import progress_bar
from .sharing import Sharing, share_out

if TYPE_CHECKING:
    from ..evaluation.shards import Shard

COUNT = 500  # held-out questions


@dataclass(frozen=True)
class Measuring:
    """Options for the measurement."""

    model: Model = None
    task: Annotated[
        Literal["facts", "text", "likelihood", "gsm8k", "ifeval", "alpaca_eval"],
        Option(
            help="facts: held-out questions with exact answers; text: the prompts of a file, without a judge; "
            "likelihood: scores of the answers in a file; gsm8k, ifeval, alpaca_eval: the rows of such a file.",
        ),
    ] = "facts"
    count: Annotated[
        int | None, Option(help="Number of prompts, from the first one on.", show_default="500; else the whole file")
    ] = None
    decoding: Annotated[str | None, Option(metavar="NAME", help="Measure only systems with this decoder.")] = None
    batch_size: Annotated[int, Option(help="Prompts answered together.")] = 8
    everything: Annotated[bool, Option("--all", help="All decoders and settings, alone and in batches.")] = False
    plot: Annotated[Path | None, Option(metavar="FILE", help="Draw quality against cost; facts: with --all.")] = None
    keep: Annotated[
        Path | None,
        Option(
            metavar="FILE",
            help="Write every result at once; a run with the same file continues. Facts: with --all.",
        ),
    ] = None


@dataclass(frozen=True)
class Texts:
    """Options for the tasks that read a file of prompts."""

    panel: ClassVar[str] = "With a file of prompts"
    prompts: Annotated[
        Path | None,
        Option(
            metavar="FILE",
            help="File of prompts: JSONL (prompt, messages or instruction) or a prompt per line; likelihood: JSONL of "
            "training records, or of prompts with their answers; standard tasks: JSONL of their rows.",
        ),
    ] = None
    base: Annotated[
        str | None,
        Option(
            metavar="NAME",
            help="Checkpoint that scores the answers, and answers beside the model; default: the model's own base.",
        ),
    ] = None
    max_new_tokens: Annotated[
        int | None,
        Option(
            help="Most tokens of an answer, plan included.", show_default="256; gsm8k: 320; ifeval, alpaca_eval: 512"
        ),
    ] = None
    alone: Annotated[
        int | None,
        Option(help="Prompts, from the first one on, that are also answered one at a time.", show_default="100"),
    ] = None
    temperature: Annotated[
        float | None,
        Option(help="Sampling temperature of every system; 0: greedy.", show_default="as the checkpoints say"),
    ] = None
    samples: Annotated[
        int | None, Option(help="Draws for the bound of each planned answer (likelihood).", show_default="64")
    ] = None
    outputs: Annotated[
        Path | None,
        Option(metavar="FOLDER", help="Folder for a model_outputs.json per system, which alpaca_eval reads."),
    ] = None
    judge: Annotated[
        bool | None, Option("--judge", help="Ask the judge of alpaca_eval, which needs its tool and OPENAI_API_KEY.")
    ] = None
    reference: Annotated[
        Path | None,
        Option(metavar="FILE", help="Answers that the judge compares with.", show_default="those of its tool"),
    ] = None


# Task -> the options of `Texts` that it reads.
READS = {
    "facts": (),
    "text": ("prompts", "base", "max_new_tokens", "alone", "temperature"),
    "likelihood": ("prompts", "samples"),
    "gsm8k": ("prompts", "max_new_tokens", "temperature"),
    "ifeval": ("prompts", "max_new_tokens", "temperature"),
    "alpaca_eval": ("prompts", "max_new_tokens", "temperature", "outputs", "judge", "reference"),
}


def evaluate(measuring: Measuring, texts: Texts, sharing: Sharing, output: Output) -> None:
    """Measure decoders: quality, forwards, seconds; on held-out facts, or on the prompts of a file."""
    for option, file in (("--plot", measuring.plot), ("--keep", measuring.keep)):
        if file:
            check_writable(file, option)
            if measuring.task == "facts" and not measuring.everything:
                raise ValueError(f"{option} needs --all; give both.")
    check_reads(measuring.task, texts)
    if measuring.task == "facts":
        if sharing != Sharing():
            raise ValueError("--task facts runs in one process; planned-diffusion study decoders can be shared out.")
        evaluate_facts(measuring, output)
        return
    run = {"text": evaluate_texts, "likelihood": evaluate_answers}.get(measuring.task, evaluate_rows)
    run(measuring, texts, output, share_out(sharing, measuring.keep, "--keep"))


def check_reads(task: str, texts: Texts) -> None:
    """Raise ValueError for an option that the task does not read, and without the file that it needs."""
    for name, value in vars(texts).items():
        if value is not None and name not in READS[task]:
            *others, last = [other for other, names in READS.items() if name in names]
            tasks = f"{', '.join(others)} or {last}" if others else last
            raise ValueError(f"--{name.replace('_', '-')} needs --task {tasks}; give both.")
    if "prompts" in READS[task] and texts.prompts is None:
        holds = {"text": "a prompt per line", "likelihood": "prompts with their answers"}.get(task, "its rows, JSONL")
        raise ValueError(f"--task {task} needs --prompts FILE; give a file with {holds}.")


def evaluate_facts(measuring: Measuring, output: Output) -> None:
    """Measure decoders on held-out facts."""
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


def evaluate_texts(measuring: Measuring, texts: Texts, output: Output, shard: "Shard | None") -> None:
    """Measure decoders on the prompts of a file."""
    assert texts.prompts is not None
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
        shard=shard,
    )
    if evaluation.base is None:
        note("no base is known, so likelihoods are left out; name one with --base.")
    if measuring.keep is None:
        note("answers are not kept; --keep FILE writes them, and continues after an interruption.")
    evaluate_text(evaluation, measuring.plot, measuring.keep)


def evaluate_answers(measuring: Measuring, texts: Texts, output: Output, shard: "Shard | None") -> None:
    """Score the answers of a file."""
    assert texts.prompts is not None
    for option, value in (
        ("--plot", measuring.plot),
        ("--decoding", measuring.decoding),
        ("--all", measuring.everything),
    ):
        if value:
            raise ValueError(f"{option} means nothing with --task likelihood, which generates nothing; leave it out.")
    source = checkpoint_of(measuring.model, output.debug)
    quiet(output.debug)
    from ..evaluation.likelihood_task import SAMPLES, LikelihoodEvaluation, evaluate_likelihood

    samples = SAMPLES if texts.samples is None else texts.samples
    evaluation = LikelihoodEvaluation(
        source, texts.prompts, measuring.count, samples, output.as_json, progress_bar, shard
    )
    evaluate_likelihood(evaluation, measuring.keep)


def evaluate_rows(measuring: Measuring, texts: Texts, output: Output, shard: "Shard | None") -> None:
    """Measure decoders on the rows of a standard task."""
    assert texts.prompts is not None
    if measuring.plot:
        raise ValueError(f"--plot means nothing with --task {measuring.task}; leave it out.")
    source = checkpoint_of(measuring.model, output.debug)
    quiet(output.debug)
    from ..evaluation.alpaca_eval_task import JudgedOutputs, evaluate_alpaca_eval
    from ..evaluation.standard_tasks import STANDARD_TASKS, evaluate_standard
    from ..evaluation.text_settings import TextEvaluation

    room = STANDARD_TASKS[measuring.task].max_new_tokens
    evaluation = TextEvaluation(
        model=source,
        prompts=texts.prompts,
        count=measuring.count,
        batch_size=measuring.batch_size,
        max_new_tokens=room if texts.max_new_tokens is None else texts.max_new_tokens,
        temperature=texts.temperature,
        everything=measuring.everything,
        decoding=measuring.decoding,
        as_json=output.as_json,
        bar=progress_bar,
        shard=shard,
    )
    if measuring.task != "alpaca_eval":
        evaluate_standard(measuring.task, evaluation, measuring.keep)
        return
    outputs = JudgedOutputs(texts.outputs, bool(texts.judge), texts.reference)
    for system, path in evaluate_alpaca_eval(evaluation, outputs, measuring.keep).items():
        note(f"the answers of {system} are in {path}.")


def note(text: str) -> None:
    """Print a note on standard error."""
    print(f"note: {text}", file=sys.stderr)
