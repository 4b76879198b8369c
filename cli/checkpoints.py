"""`planned-diffusion convert`, `export` and `push`: make checkpoints of others, and prepare and send them."""

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from typer import Argument, Option

from .model_names import checkpoint_of
from .options import Attention, Debug, Output, quiet


@dataclass(frozen=True)
class Conversion:
    """Options for the configuration of a converted checkpoint."""

    tokens_per_length_unit: Annotated[
        int | None, Option(help="Tokens per promised number; default: 10, as in the published checkpoints.")
    ] = None
    span_attention: Attention = None
    span_separator: Annotated[
        str | None, Option(help="Text between spans; default: none, or that of the published checkpoints for theirs.")
    ] = None
    repeat_promises: Annotated[
        bool, Option("--repeat-promises", help="Begin every span with its promise again, which helps small models.")
    ] = False
    revision: Annotated[str | None, Option(help="Branch, tag or commit of a Hub repository.")] = None
    gguf_file: Annotated[
        str | None, Option(metavar="NAME", help="GGUF file to convert, where SOURCE is a repository or holds several.")
    ] = None


@dataclass(frozen=True)
class Card:
    """Options for the facts in a model card."""

    panel: ClassVar[str] = "Model card"
    license_name: Annotated[str | None, Option("--license", metavar="ID", help="License, such as apache-2.0.")] = None
    base_model: Annotated[str | None, Option(metavar="REPO", help="Model from which this one was made.")] = None
    relation: Annotated[
        Literal["finetune", "quantized", "merge"], Option(help="Relation of this model to the base model.")
    ] = "finetune"
    dataset: Annotated[
        list[str] | None, Option(metavar="REPO", help="Dataset that the model was trained on; may be repeated.")
    ] = None
    prompt: Annotated[str | None, Option(help="Prompt used in the model card's quick start.")] = None
    run_card: Annotated[
        bool, Option("--run/--no-run", help="Run the quick start, and show in the card what it prints.")
    ] = True


@dataclass(frozen=True)
class Sending:
    """Options for what is sent to the Hub."""

    yes: Annotated[bool, Option("--yes", help="Push; without it, only print what would be done.")] = False
    public: Annotated[bool, Option("--public", help="Make a new repository public.")] = False
    tag: Annotated[str | None, Option(metavar="NAME", help="Tag for the pushed revision.")] = None


def convert(
    source: Annotated[
        str,
        Argument(metavar="SOURCE", help="Folder or Hub repository of a Qwen, Llama or Dream model, or a GGUF file."),
    ],
    out: Annotated[Path, Argument(metavar="OUT", help="New folder.")],
    conversion: Conversion,
    output: Output,
) -> None:
    """Make a planned-diffusion checkpoint from another model: control tokens, configuration; weights are copied."""
    quiet(output.debug)
    from rich.progress import DownloadColumn, TransferSpeedColumn

    from ..hub.convert.convert import ChosenFields
    from ..hub.convert.convert import convert as convert_checkpoint
    from .progress import progress_bar

    with progress_bar(out.name, DownloadColumn(), TransferSpeedColumn(), transient=True) as progress:
        converted = convert_checkpoint(
            source,
            out,
            ChosenFields(
                conversion.tokens_per_length_unit,
                conversion.span_attention,
                conversion.span_separator,
                conversion.repeat_promises,
            ),
            revision=conversion.revision,
            gguf_file=conversion.gguf_file,
            progress=progress,
        )
    if output.as_json:
        print(json.dumps(converted.as_json(), ensure_ascii=False))
    else:
        print("\n".join(f"{name:<20} {value}" for name, value in converted.table()))


def export(
    model: Annotated[str, Argument(metavar="MODEL", help="Folder or Hub repository of a checkpoint.")],
    out: Annotated[Path, Argument(metavar="OUT", help="Folder to write.")],
    overwrite: Annotated[
        bool, Option("--overwrite", help="Replace a checkpoint in OUT that is not an earlier export.")
    ] = False,
    max_shard_size: Annotated[str, Option(metavar="SIZE", help="Size of a weights file, at most.")] = "5GB",
    debug: Debug = False,
) -> None:
    """Write a checkpoint that loads anywhere with trust_remote_code=True: weights, tokenizer, defaults and code."""
    source = checkpoint_of(model, debug)
    quiet(debug)
    from ..hub.export import export as export_checkpoint

    exported = export_checkpoint(source, out, overwrite, max_shard_size)
    for note in exported.notes:
        print(f"note: {note}", file=sys.stderr)
    print(f"{exported.folder}: {len(exported.files)} files")


def push(
    model: Annotated[str, Argument(metavar="MODEL", help="Folder of a checkpoint or of a LoRA adapter.")],
    repo: Annotated[str, Argument(metavar="REPO", help="Repository on the Hub, as owner/name.")],
    sending: Sending,
    card: Card,
    debug: Debug = False,
) -> None:
    """Push a checkpoint or LoRA adapter to the Hub, with its code and a card; private, and only with --yes."""
    quiet(debug)
    from ..hub.card import About
    from ..hub.proposal import Choices
    from ..hub.push import push as push_checkpoint

    about = About(
        card.license_name, card.base_model, card.relation, tuple(card.dataset or ()), card.prompt or About.prompt
    )
    choices = Choices(private=not sending.public, tag=sending.tag, run_card=card.run_card)
    push_checkpoint(model, repo, about, choices, confirmed=sending.yes)
