"""Refuse weights that are stored as integers, with which a model would compute as if they were its numbers."""

import json
from pathlib import Path
from typing import Any

from ..checkpoint_planned_diffusion import AGAIN, CheckpointError

FLOATS = ("F", "BF")  # dtypes in the headers of safetensors files begin so where they hold plain numbers


def check_dtypes(folder: Path) -> None:
    """Refuse weights of a local folder that are stored as integers without a quantisation that explains them.

    Raises:
        CheckpointError: names the first of them.
    """
    config = folder / "config.json"
    if config.is_file() and b'"quantization_config"' in config.read_bytes():
        return
    for file in sorted(folder.glob("model*.safetensors")):
        for name, entry in _header(file).items():
            dtype = entry.get("dtype", FLOATS[0]) if isinstance(entry, dict) else FLOATS[0]
            if not str(dtype).startswith(FLOATS):
                raise CheckpointError(
                    f"{file} stores {name} as {dtype}, and its config.json names no quantisation; {AGAIN}."
                )


def _header(file: Path) -> dict[str, Any]:
    """Return the header of a file of weights; nothing where it is broken, which loading reports."""
    with file.open("rb") as content:
        length = int.from_bytes(content.read(8), "little")
        try:
            header = json.loads(content.read(length)) if length < file.stat().st_size else {}
        except ValueError:
            return {}
    return header if isinstance(header, dict) else {}
