"""The paths of the included checkpoints: a whole model of facts, which needs no download, an adapter that makes a base
by name plan, and a drafter for that adapter."""

from pathlib import Path

CHECKPOINTS = Path(__file__).resolve().parents[1] / "checkpoints"
EMBEDDED = CHECKPOINTS / "facts"  # answers questions about 161 countries
PLANNER = CHECKPOINTS / "smollm2-planner"  # answers anything, as well as SmolLM2-135M can
DRAFTER = CHECKPOINTS / "smollm2-planner-drafter"  # with it the planner writes several tokens per forward
INCLUDED = {folder.name: folder for folder in (EMBEDDED, PLANNER, DRAFTER)}
CHECKPOINT_FILES = ("config.json", "adapter_config.json")


def holds_checkpoint(folder: str | Path) -> bool:
    """Return whether a folder holds a model or an adapter, so that it goes before what has its name elsewhere."""
    return any((Path(folder) / name).is_file() for name in CHECKPOINT_FILES)
