"""The path of the included model: a checkpoint that answers questions about 161 countries and needs no download."""

from pathlib import Path

EMBEDDED = Path(__file__).resolve().parents[1] / "checkpoints" / "facts"
