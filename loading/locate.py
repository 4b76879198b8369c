"""Tell folders from Hub repositories in the names of checkpoints, before anything heavy is imported."""

import re
from pathlib import Path

from .bases import base_named, conversion_of
from .embedded import EMBEDDED, INCLUDED, holds_checkpoint

REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+")  # as the Hub names models


def locate(model: str | Path, option: str = "") -> str:
    """Return the path of a folder, with ~ expanded, or the name of a Hub repository as it is.

    A base by name (loading/bases.py) is the folder into which it was converted, an included checkpoint its folder; a
    checkpoint in a folder of that name goes first.

    Args:
        model: folder, base or included checkpoint by name, or Hub repository as owner/name.
        option: name under which the user gave it ("--model"); the error message repeats it.

    Raises:
        ValueError: the text is neither an existing folder nor a possible name of a repository, or a base that was not
            converted yet.
    """
    base = base_named(model)
    if base is not None:
        return str(conversion_of(base))
    path, text = Path(model).expanduser(), str(model)
    included = INCLUDED.get(text)
    if included is not None and included.is_dir() and not holds_checkpoint(path):
        return str(included)
    if path.is_dir():
        return str(path)
    if path.exists() or is_path(text) or not REPOSITORY.fullmatch(text):
        give = f"give {option} a folder" if option else "give a folder"
        raise ValueError(f"There is no folder {model}{_beside(text)}; {give}, or a Hub repository as owner/name.")
    return text


def is_path(text: str) -> bool:
    """Tell whether a text that names nothing here was meant as a path, and not as the name of something on the Hub.

    So is a text that starts like a path, has more than one slash or one at its end, ends like a file of weights, or
    lies in a folder that exists.
    """
    starts, ends = text.startswith((".", "~", "/")), text.endswith(("/", "\\", ".gguf", ".safetensors"))
    return starts or ends or text.count("/") > 1 or "\\" in text or bool(_beside(text))


def _beside(text: str) -> str:
    """Return words for an error where the first part of owner/name is a folder here; "" where it is none."""
    parent = text.rpartition("/")[0] if REPOSITORY.fullmatch(text) else ""
    return f" ({parent} is a folder here, so this is a path)" if parent and Path(parent).expanduser().is_dir() else ""


def chosen_model(model: str | None) -> str:
    """Return the checkpoint that the option --model names; the included one where it was not given.

    Raises:
        ValueError: a folder that is missing or holds no checkpoint, or no included checkpoint.
    """
    if model is None:
        if not (EMBEDDED / "config.json").is_file():
            raise ValueError(f"There is no embedded checkpoint at {EMBEDDED}; run make checkpoint, or give --model.")
        return str(EMBEDDED)
    source = locate(model, "--model")
    if Path(source).is_dir() and not holds_checkpoint(source):
        raise ValueError(f"The folder {model} holds no config.json; name the folder of a checkpoint with --model.")
    return source
