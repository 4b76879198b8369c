"""The paths of the included checkpoints: a whole model of facts, which needs no download, and an adapter of a base."""

from pathlib import Path

CHECKPOINTS = Path(__file__).resolve().parents[1] / "checkpoints"
EMBEDDED = CHECKPOINTS / "facts"  # answers questions about 161 countries
CHECKPOINT_FILES = ("config.json", "adapter_config.json")
INCLUDED = {folder.name: folder for folder in (EMBEDDED, CHECKPOINTS / "smollm2-planner")}


def holds_checkpoint(folder: str | Path) -> bool:
    """Return whether a folder holds a model or an adapter, so that it goes before what has its name elsewhere."""
    return any((Path(folder) / name).is_file() for name in CHECKPOINT_FILES)
