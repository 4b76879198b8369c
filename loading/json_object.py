"""Read a file of a checkpoint that holds one JSON object."""

import json
from pathlib import Path
from typing import Any

from ..checkpoint_planned_diffusion import CheckpointError


def read_object(file: Path, remedy: str) -> dict[str, Any]:
    """Return the fields of a JSON file.

    Args:
        file: an existing file.
        remedy: what the error tells to do, as the end of a sentence ("fetch it anew").

    Raises:
        CheckpointError: broken JSON, or another value than an object.
    """
    try:
        stored = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise CheckpointError(f"{file} is not JSON ({error}); {remedy}.") from error
    if not isinstance(stored, dict):
        raise CheckpointError(f"{file} holds no JSON object; {remedy}.")
    return stored
