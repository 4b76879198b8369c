"""Options that several commands have, and the checks of what they are given; nothing heavy is imported."""

import json
import os
import sys
import warnings
from pathlib import Path
from typing import Annotated, Literal

from typer import Option

from ..inference.decoding_fields import with_sampling

OF_PYTHON = ("return_dict_in_generate", "num_return_sequences", "output_trace", "compile_config")


Debug = Annotated[bool, Option("--debug", help="Show tracebacks and the libraries' messages.")]


Json = Annotated[bool, Option("--json", help="Print one JSON object.")]


Model = Annotated[str | None, Option(metavar="PATH_OR_REPO", help="Folder or Hub repository; by default the embedded.")]


Decoding = Annotated[str | None, Option(metavar="NAME", help="planned, autoregressive, diffusion, ... (README).")]


Ratio = Annotated[float | None, Option(help="Denoising steps of a round = its longest span x ratio.")]


Threshold = Annotated[float | None, Option(help="Also write every token that is at least this probable, in (0, 1].")]


Unmasking = Annotated[str | None, Option(metavar="NAME", help="What is written first: entropy, confidence or margin.")]


Attention = Annotated[str | None, Option(metavar="NAME", help="sparse: parts do not see each other; dense: they do.")]


Scale = Annotated[float | None, Option(help="Multiplies the promised lengths.")]


NewTokens = Annotated[int | None, Option(help="Bounds everything written, plan and tags included.")]


Temperature = Annotated[float | None, Option(help="Above 0: sample; 0: the most probable token.")]


TopP = Annotated[float | None, Option(help="Keep the most probable tokens that make up this share.")]


TopK = Annotated[int | None, Option(help="Keep this many of the most probable tokens.")]


Seed = Annotated[int | None, Option(help="Of the sampling.")]


KeepPlan = Annotated[bool, Option("--keep-plan", help="Show the answer as written, with plan and tags.")]


Others = Annotated[
    list[str] | None, Option("--set", metavar="FIELD=VALUE", help="Any other field of generate; may be repeated.")
]


Trace = Annotated[Path | None, Option(metavar="FILE", help="Write every event of the generation as JSON.")]


Dtype = Annotated[
    Literal["auto", "float32", "bfloat16", "nf4", "int8"],
    Option(help="auto: that of the checkpoint; nf4, int8: quantised by bitsandbytes."),
]


Device = Annotated[str, Option(help="auto: the GPU if there is one; or cpu, cuda, cuda:1.")]


def decoding_fields(temperature: float | None, keep_plan: bool, others: list[str] | None, **fields) -> dict:
    """The fields of `generate` that were given; a temperature says whether to sample.

    Raises:
        ValueError: one of `others` is no FIELD=VALUE, or names a field that was given already.
    """
    fields |= {"temperature": temperature, "keep_plan": keep_plan or None}
    fields = {name: value for name, value in fields.items() if value is not None}
    for text in others or []:
        name, equals, value = text.partition("=")
        if not (name and equals):
            raise ValueError(f"--set got {text!r}; give FIELD=VALUE, such as block_size=16.")
        if name in fields:
            raise ValueError(f"{name} is given twice; give it once.")
        if name in OF_PYTHON:
            raise ValueError(f"--set {name} means nothing on the command line; leave it out.")
        fields[name] = as_value(value)
    return with_sampling(fields)


def as_value(text: str) -> object:
    """A value as JSON writes it (8, 0.5, true, [1, 2]); anything else is a string."""
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text


def read_prompt(words: list[str]) -> str:
    """The words of the command line, or standard input."""
    if not words and sys.stdin.isatty():
        raise ValueError("There is no prompt; give one as an argument, or pipe one in.")
    try:
        if words in ([], ["-"]):
            text = sys.stdin.buffer.read().decode("utf-8").removesuffix("\n").removesuffix("\r")
        else:
            text = " ".join(words)
            text.encode("utf-8")
    except UnicodeError as error:
        raise ValueError(f"The prompt is not UTF-8 text ({error.reason}); convert it first.") from error
    if not text.strip():
        raise ValueError("The prompt is empty; give some text.")
    return text


def refuse_unwritable(path: Path, option: str = "--trace") -> None:
    """Raises ValueError where a file cannot be written, before work is put into it."""
    path = path.expanduser().resolve()
    if path.exists() and not path.is_file():
        raise ValueError(f"{path} is no ordinary file; give {option} the name of one.")
    if not path.parent.is_dir() or not os.access(path.parent, os.W_OK):
        raise ValueError(
            f"No file can be written into {path.parent}; make that folder, or give {option} another place."
        )


def quiet(debug: bool) -> None:
    """Silences the libraries' warnings and progress bars."""
    if debug:
        return
    import logging as standard_logging

    from huggingface_hub.utils import disable_progress_bars
    from huggingface_hub.utils import logging as hub_logging
    from transformers.utils import logging

    warnings.simplefilter("ignore")
    for messages in (hub_logging, logging):
        messages.set_verbosity_error()
    for library in ("bitsandbytes", "torchao"):  # one tells of every layer's casts, one of kernels that are not there
        standard_logging.getLogger(library).setLevel(standard_logging.ERROR)
    logging.disable_progress_bar()
    disable_progress_bars()
