"""Tell folders from Hub repositories in the names of checkpoints, before anything heavy is imported."""

from pathlib import Path

from .bases import base_named, converted
from .embedded import EMBEDDED

CHECKPOINT_FILES = ("config.json", "adapter_config.json")


def locate(model: str | Path, option: str = "") -> str:
    """Return the path of a folder, with ~ expanded, or the name of a Hub repository as it is.

    A base by name (loading/bases.py) is the folder into which it was converted.

    Args:
        model: folder, base by name, or Hub repository as owner/name.
        option: name under which the user gave it ("--model"); the error message repeats it.

    Raises:
        ValueError: the text is neither an existing folder nor a possible name of a repository, or a base that was not
            converted yet.
    """
    base = base_named(model)
    if base is not None:
        folder = converted(base)
        if folder is None:
            raise ValueError(
                f"{base.name} has not been converted on this machine; run planned-diffusion generate --model "
                f"{base.name} Hello once ({base.install} brings its weights)."
            )
        return str(folder)
    path, text = Path(model).expanduser(), str(model)
    if path.is_dir():
        return str(path)
    if path.exists() or text.startswith((".", "~", "/")) or text.count("/") != 1:
        give = f"give {option} a folder" if option else "give a folder"
        raise ValueError(f"There is no folder {model}; {give}, or a Hub repository as owner/name.")
    return text


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
    if Path(source).is_dir() and not any((Path(source) / name).is_file() for name in CHECKPOINT_FILES):
        raise ValueError(f"The folder {model} holds no config.json; name the folder of a checkpoint with --model.")
    return source
