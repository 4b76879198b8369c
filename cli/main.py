"""`planned-diffusion`: parses arguments, calls one function, prints.

Errors are one line on stderr; exit status 2 for bad use, 1 for a failure, 130 after Ctrl-C. What is heavy is imported
inside the commands, so that help and refusals come at once.
"""

import json
import os
import sys
from pathlib import Path
from typing import Annotated, Literal

import typer
from typer import Argument, Option

from .. import __version__
from ..loading.locate import chosen_model
from .generate import batch, generate
from .options import Attention, Debug, Json, Model, quiet, refuse_unwritable

NAME = "planned-diffusion"

app = typer.Typer(
    help="Language models that plan first and then write in parallel (arXiv 2510.18087).",
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def show_version(wanted: bool) -> None:
    if wanted:
        print(f"{NAME} {__version__}")
        raise typer.Exit


@app.callback()
def options(version: Annotated[bool, Option("--version", is_eager=True, callback=show_version)] = False):
    pass


app.command()(generate)
app.command()(batch)


@app.command(
    add_help_option=False,
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True, "allow_interspersed_args": False},
)
def train(context: typer.Context):
    """Fine-tune or train from scratch; all arguments go to the training script (train --help lists them)."""
    try:
        from ..training import sft
    except ImportError as error:
        if (error.name or "").startswith(__package__):
            raise
        raise RuntimeError(f"Training needs {error.name}; run pip install 'planned-diffusion[train]'.") from error
    sys.argv = [f"{NAME} train", *context.args]  # what the script's own help and errors call it
    return sft.main(context.args)


@app.command(
    add_help_option=False,
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True, "allow_interspersed_args": False},
)
def serve(context: typer.Context):
    """Answer OpenAI clients: transformers serve, with its arguments (serve --help), by default the embedded model."""
    from ..inference.serve import serve as run

    given = context.args
    run(given if given and (not given[0].startswith("-") or given[0] == "--help") else [chosen_model(None), *given])


@app.command()
def annotate(
    source: Annotated[str, Argument(metavar="IN", help="JSONL(.gz), JSON, Parquet, or a Hub dataset: owner/name.")],
    out: Annotated[Path, Argument(metavar="OUT", help="JSONL file of records to write.")],
    annotator: Annotated[str, Option(metavar="NAME", help="structure: offline; llm: asks an endpoint.")] = "structure",
    model: Model = None,
    unit: Annotated[int | None, Option(help="Tokens per length unit; by default the model's own.")] = None,
    plain: Annotated[str, Option(metavar="keep|drop", help="What happens to answers that are not split.")] = "keep",
    split: Annotated[str, Option(help="Of a Hub dataset.")] = "train",
    limit: Annotated[int | None, Option(help="Only the first records.")] = None,
    max_spans: Annotated[int, Option(help="The most spans of a round.")] = 16,
    llm: Annotated[str, Option(metavar="NAME", help="The model that is asked, with the key in OPENAI_API_KEY.")] = "",
    endpoint: Annotated[str | None, Option(metavar="URL", help="OpenAI-compatible server, if not OpenAI's.")] = None,
    concurrency: Annotated[int, Option(help="Requests under way at a time.")] = 8,
    price: Annotated[tuple[float, float] | None, Option(help="Of a million prompt and completion tokens.")] = None,
    estimate: Annotated[bool, Option("--estimate", help="Only say how many tokens asking would take.")] = False,
    as_json: Json = False,
    debug: Debug = False,
):
    """Turn ordinary question/answer data into records with plans. Stopped? The same command goes on where it was."""
    folder = chosen_model(model)
    quiet(debug)
    from ..annotation.llm import Endpoint
    from ..annotation.pipeline import AnnotationJob
    from .annotate import annotate as run

    job = AnnotationJob(source, out, folder, unit, annotator, plain, split, limit, max_spans, llm, price)
    run(job, Endpoint(llm, endpoint, concurrency), estimate, as_json)


@app.command()
def evaluate(
    model: Model = None,
    count: Annotated[int, Option(help="Held-out prompts.")] = 500,
    decoding: Annotated[str | None, Option(metavar="NAME", help="Only the systems that decode in this way.")] = None,
    batch_size: Annotated[int, Option(help="Prompts answered together.")] = 8,
    everything: Annotated[bool, Option("--all", help="All decoders with their knobs, alone and batched.")] = False,
    plot: Annotated[Path | None, Option(metavar="FILE", help="With --all: draw quality against cost.")] = None,
    keep: Annotated[Path | None, Option(metavar="FILE", help="With --all: write every result there at once.")] = None,
    as_json: Json = False,
    debug: Debug = False,
):
    """Measure the decoders on held-out facts: right answers, forwards, seconds."""
    source = chosen_model(model)
    for option, file in (("--plot", plot), ("--keep", keep)):
        if file:
            refuse_unwritable(file, option)
            if not everything:
                raise ValueError(f"{option} is for what --all measures; give both.")
    quiet(debug)
    from ..evaluation.measure import Evaluation

    evaluation = Evaluation(source, count, batch_size, as_json)
    if everything:
        from ..evaluation.frontier import evaluate_variants

        evaluate_variants(evaluation, decoding, plot, keep)
    else:
        from ..evaluation.systems import evaluate_systems

        evaluate_systems(evaluation, decoding)


@app.command()
def convert(
    source: Annotated[str, Argument(metavar="SOURCE", help="Folder or Hub repository of a Qwen, Llama, Dream model.")],
    out: Annotated[Path, Argument(metavar="OUT", help="New folder.")],
    tokens_per_length_unit: Annotated[int | None, Option(help="Tokens per promised number; by default 10.")] = None,
    span_attention: Attention = None,
    span_separator: Annotated[str | None, Option(help="Text between spans; by default as published.")] = None,
    revision: Annotated[str | None, Option(help="Branch, tag or commit of a Hub repository.")] = None,
    as_json: Json = False,
    debug: Debug = False,
):
    """Make a planned-diffusion checkpoint of another one: tags, rows, configuration; weights are copied."""
    quiet(debug)
    from ..hub.convert.convert import convert as run
    from .progress import copying

    with copying(out.name) as progress:
        converted = run(source, out, tokens_per_length_unit, span_attention, span_separator, revision, progress)
    if as_json:
        print(json.dumps(converted.as_json(), ensure_ascii=False))
    else:
        print("\n".join(f"{name:<20} {value}" for name, value in converted.table()))


@app.command()
def export(
    model: Annotated[str, Argument(metavar="MODEL", help="Folder or Hub repository of a checkpoint.")],
    out: Annotated[Path, Argument(metavar="OUT", help="Folder to write.")],
    overwrite: Annotated[bool, Option("--overwrite", help="Replace a checkpoint that is no export.")] = False,
    max_shard_size: Annotated[str, Option(metavar="SIZE", help="Largest weights file.")] = "5GB",
    debug: Debug = False,
):
    """Write a checkpoint that loads anywhere with trust_remote_code=True: weights, tokenizer, defaults and code."""
    source = chosen_model(model)
    quiet(debug)
    from ..hub.export import export as write

    exported = write(source, out, overwrite, max_shard_size)
    for note in exported.notes:
        print(f"note: {note}", file=sys.stderr)
    print(f"{exported.folder}: {len(exported.files)} files")


@app.command()
def push(
    model: Annotated[str, Argument(metavar="MODEL", help="Folder of a checkpoint or of a LoRA adapter.")],
    repo: Annotated[str, Argument(metavar="REPO", help="owner/name on the Hub.")],
    yes: Annotated[bool, Option("--yes", help="Do it; without, only say what would be done.")] = False,
    public: Annotated[bool, Option("--public", help="Make a new repository public.")] = False,
    tag: Annotated[str | None, Option(metavar="NAME", help="Tag the pushed revision.")] = None,
    license_name: Annotated[str | None, Option("--license", metavar="ID", help="Such as apache-2.0.")] = None,
    base_model: Annotated[str | None, Option(metavar="REPO", help="The model that this one was made from.")] = None,
    relation: Annotated[Literal["finetune", "quantized", "merge"], Option(help="How it was made.")] = "finetune",
    dataset: Annotated[list[str] | None, Option(metavar="REPO", help="Trained on; may be repeated.")] = None,
    prompt: Annotated[str | None, Option(help="Of the card's quick start, which is run.")] = None,
    run_card: Annotated[bool, Option("--run/--no-run", help="Run the card's quick start.")] = True,
    debug: Debug = False,
):
    """Send a checkpoint or LoRA adapter to the Hub, with its code and a card; private, and only with --yes."""
    quiet(debug)
    from ..hub.card import About
    from ..hub.push import push as send

    about = About(license_name, base_model, relation, tuple(dataset or ()), prompt or About.prompt)
    send(model, repo, about, private=not public, tag=tag, run_card=run_card, confirmed=yes)


def main(argv: list[str] | None = None) -> int:
    """Runs one command and returns the exit status."""
    arguments = sys.argv[1:] if argv is None else list(argv)
    try:
        command = typer.main.get_command(app)
        with command.make_context(NAME, arguments) as context:
            status = command.invoke(context) or 0
        sys.stdout.flush()  # here, where a reader that has left is noticed
        return status
    except typer.Exit as end:
        return end.exit_code
    except KeyboardInterrupt:
        print("Interrupted.", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader has left; nothing more can be printed, not even on the way out
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:
        if "--debug" in arguments:
            raise
        return report(error)


def report(error: Exception) -> int:
    """One line on stderr; 2 for bad use, 1 for a failure."""
    status, message = 1, str(error) or type(error).__name__
    if hasattr(error, "format_message"):  # Typer's own
        status, message = 2, f"{error.format_message()} See {NAME} --help."
    elif isinstance(error, ValueError):
        status = 2
    elif not isinstance(error, (RuntimeError, FloatingPointError)):
        message = f"{type(error).__name__}: {message}"
    print(f"error: {' '.join(message.split())}", file=sys.stderr)
    return status
