"""The model that is included: the checkpoint of 161 countries that needs no download."""

from pathlib import Path

EMBEDDED = Path(__file__).resolve().parents[1] / "checkpoints" / "facts"
