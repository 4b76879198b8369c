"""Options that several commands share, and the checks of their values; nothing heavy is imported."""

import os
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from typer import Option

Model = Annotated[
    str | None,
    Option(
        metavar="NAME",
        help="Folder or Hub repository of a checkpoint, or the base smollm2; default: the included model.",
    ),
]
Debug = Annotated[bool, Option("--debug", help="Show tracebacks and the messages of libraries.")]
Json = Annotated[bool, Option("--json", help="Print one JSON object.")]
Speed = Annotated[
    float | None,
    Option(
        metavar="X",
        help="Forwards per second that a terminal shows, at most; 0: as fast as the model.",
        show_default="8, and at most 5 seconds behind the model",
    ),
]
Attention = Annotated[
    str | None,
    Option(metavar="sparse|dense", help="sparse: the spans of a round do not see each other; dense: they do."),
]


@dataclass(frozen=True)
class Loading:
    """Options for the checkpoint and how it is loaded."""

    model: Model = None
    dtype: Annotated[
        Literal["auto", "float32", "bfloat16", "nf4", "int8", "w8a16", "w8a8"],
        Option(
            help="Data type of the weights; auto: as in the checkpoint, but float32 on a CPU without bfloat16 "
            "instructions; nf4, int8: by bitsandbytes; w8a16, w8a8: 8 bits for a CPU (w8a8: activations, too)."
        ),
    ] = "auto"
    device: Annotated[str, Option(help="cpu, cuda or cuda:1; auto: the GPU if there is one.")] = "auto"


@dataclass(frozen=True)
class Output:
    """Options for what a command prints."""

    as_json: Json = False
    debug: Debug = False


def check_writable(path: Path, option: str = "--trace") -> None:
    """Raise ValueError where a file cannot be written, before work is put into it."""
    path = path.expanduser().resolve()
    if path.exists() and not path.is_file():
        raise ValueError(f"{path} is no ordinary file; give {option} the name of one.")
    if not path.parent.is_dir() or not os.access(path.parent, os.W_OK):
        raise ValueError(
            f"No file can be written into {path.parent}; make that folder, or give {option} another place."
        )


def check_speed(speed: float | None) -> None:
    """Raise ValueError for a speed at which nothing can be shown."""
    if speed is not None and not speed >= 0:
        raise ValueError(f"speed is {speed}; give forwards per second, or 0 for as fast as the model.")


def quiet(debug: bool) -> None:
    """Silence the warnings and progress bars of libraries, unless `debug`."""
    if debug:
        return
    import logging as standard_logging

    from huggingface_hub.utils import disable_progress_bars
    from huggingface_hub.utils import logging as hub_logging
    from transformers.utils import logging

    warnings.simplefilter("ignore")
    for messages in (hub_logging, logging):
        messages.set_verbosity_error()
    for library in ("bitsandbytes", "torchao"):  # they report every layer's casts, and kernels that are missing
        standard_logging.getLogger(library).setLevel(standard_logging.ERROR)
    logging.disable_progress_bar()
    disable_progress_bars()
