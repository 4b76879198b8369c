"""The facts task: a table of countries, its questions, their checked answers, and the model that is trained on them."""

from pathlib import Path

EMBEDDED = Path(__file__).resolve().parents[2] / "checkpoints" / "facts"
