"""Locate the checkpoint that a user names: a folder, a Hub repository, or the included model."""

from pathlib import Path

from .embedded import EMBEDDED


def chosen_model(model: str | None) -> str:
    """The checkpoint to load; a path is checked before anything heavy is imported."""
    if model is None:
        if not (EMBEDDED / "config.json").is_file():
            raise ValueError(f"There is no embedded checkpoint at {EMBEDDED}; run make checkpoint, or give --model.")
        return str(EMBEDDED)
    path = Path(model).expanduser()
    if path.is_dir():
        if not any((path / name).is_file() for name in ("config.json", "adapter_config.json")):
            raise ValueError(f"The folder {model} holds no config.json; name the folder of a checkpoint with --model.")
        return str(path)
    if path.exists() or model.startswith((".", "~", "/")) or model.count("/") != 1:
        raise ValueError(f"There is no folder {model}; give --model a folder, or a Hub repository as owner/name.")
    return model
