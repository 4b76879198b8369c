"""The paths of the included checkpoints: a whole model of facts, which needs no download, and an adapter of a base."""

from pathlib import Path

CHECKPOINTS = Path(__file__).resolve().parents[1] / "checkpoints"
EMBEDDED = CHECKPOINTS / "facts"  # answers questions about 161 countries
INCLUDED = {folder.name: folder for folder in (EMBEDDED, CHECKPOINTS / "smollm2-planner")}
