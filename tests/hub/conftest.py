"""Checkpoints small enough to export often, and the embedded one, whose answers are known."""

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def embedded() -> Path:
    """The embedded checkpoint, as it ships."""
    return ROOT / "checkpoints" / "facts"


@pytest.fixture
def tiny(build_model, byte_tokenizer, tmp_path) -> Path:
    """A saved random checkpoint with its tokenizer, and neither chat template nor decoding defaults."""
    folder = tmp_path / "tiny"
    build_model("qwen3").save_pretrained(folder)
    byte_tokenizer.save_pretrained(folder)
    return folder
