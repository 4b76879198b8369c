"""The circumstances of a measurement, and results printed with them: a table with the stamp below, or JSON."""

import json
import platform
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import transformers
from rich.console import Console
from rich.table import Table

from ..modeling_planned_diffusion import PlannedDiffusionForCausalLM

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

SEED = 2026  # of the held-out questions and of the bootstrap; not the seed of the training recipe's evaluation file
WIDTH_WITHOUT_TERMINAL = 150  # characters


def measurement_stamp(model: PlannedDiffusionForCausalLM, batch_size: int) -> dict[str, Any]:
    """Return the circumstances that a reported result carries: date, commit, machine, versions, command ..."""
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, cwd=Path(__file__).parent, check=False
    ).stdout.strip()
    versions = {"torch": torch.__version__, "transformers": transformers.__version__}
    return {
        "date": date.today().isoformat(),
        "commit": commit or "not a git checkout",
        "machine": f"{platform.machine()}, {torch.get_num_threads()} threads, {model.device}",
        "versions": ", ".join(
            f"{name} {version}" for name, version in {**versions, "Python": platform.python_version()}.items()
        ),
        "dtype": str(model.dtype).removeprefix("torch."),
        "batch": batch_size,
        "seed": SEED,
        "command": "planned-diffusion " + " ".join(sys.argv[1:]),
    }


def stamp_text(environment: Mapping[str, Any]) -> str:
    """Return the stamp of a measurement as one line."""
    return "; ".join(f"{key}: {value}" for key, value in environment.items())


def print_json(environment: Mapping[str, Any], results: "Mapping[str, Sequence[DataclassInstance]]") -> None:
    """Print the stamp and lists of measurements as one JSON object."""
    rows = {name: [asdict(row) for row in measurements] for name, measurements in results.items()}
    print(json.dumps({"stamp": dict(environment), **rows}, indent=1))


def print_tables(tables: Sequence[Table], environment: Mapping[str, Any]) -> None:
    """Print tables with their stamp below."""
    out = Console()
    if not out.is_terminal:
        out = Console(width=WIDTH_WITHOUT_TERMINAL)
    for table in tables:
        out.print(table)
    out.print(stamp_text(environment), style="dim", highlight=False)
