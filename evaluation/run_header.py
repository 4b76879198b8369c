"""The stamp of a run over a file of prompts, and the header by which its file of results recognises another run."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..inference.batch.job import hash_of
from ..modeling_planned_diffusion import PlannedDiffusionForCausalLM
from .stamp import measurement_stamp

# Entries of the stamp that a run may change when it continues: entries of the file are found by what decides on them.
OF_ONE_RUN = ("date", "command", "batch", "prompts", "max_new_tokens", "temperature", "shard")


def stamp_of_run(
    model: PlannedDiffusionForCausalLM, batch: str | int, checkpoints: Mapping[str, str | None], prompts: Path
) -> dict[str, Any]:
    """Return the circumstances of a run.

    Args:
        batch: how many prompts are answered together.
        checkpoints: folder or Hub repository by its role ("model", "base").
    """
    # The folder's name alone: a path would tell of this machine, and the file of results has the hash of the weights.
    names = {role: Path(name).name if name and Path(name).is_dir() else name for role, name in checkpoints.items()}
    return {**measurement_stamp(model, 0), "batch": batch, **names, "prompts": prompts.name}


def header_of_run(task: str, stamp: Mapping[str, Any], checkpoints: Mapping[str, str | None]) -> dict[str, Any]:
    """Return what the runs that share a file of results have in common: versions, machine, hashes of checkpoints."""
    fixed = {name: value for name, value in stamp.items() if name not in OF_ONE_RUN}
    keys = {role: "checkpoint" if role == "model" else f"{role}_checkpoint" for role in checkpoints}
    return {
        "task": task,
        **fixed,
        **{keys[role]: hash_of(name) if name else None for role, name in checkpoints.items()},
    }
