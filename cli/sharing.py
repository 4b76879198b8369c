"""Options that share a run out over processes, and the processes themselves."""

import os
import sys
from collections.abc import Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from subprocess import DEVNULL, Popen
from typing import TYPE_CHECKING, Annotated, ClassVar

from typer import Option

if TYPE_CHECKING:
    from ..evaluation.shards import Shard

GIVEN: ContextVar[tuple[str, ...]] = ContextVar("GIVEN")  # the arguments of the command line, set by main


@dataclass(frozen=True)
class Sharing:
    """Options for a run of several processes."""

    panel: ClassVar[str] = "On several processes"
    processes: Annotated[
        int | None, Option(help="Processes on this machine that share the batches out; the answers are the same.")
    ] = None
    shard: Annotated[
        str | None,
        Option(
            metavar="K/N",
            help="Answer only the K-th of N shares, into a file of its own; the command without it gathers them.",
        ),
    ] = None


def share_out(sharing: Sharing, kept: Path | None, option: str) -> "Shard | None":
    """Run this command's shares where --processes asks for them; return the share that --shard names, if it does.

    Args:
        kept: where results go, which `option` names: every share needs it.

    Raises:
        ValueError: both options, no such share, too few processes, or nowhere for results to go.
        RuntimeError: a process has failed.
    """
    from ..evaluation.shards import Shard

    used = next((name for name in ("processes", "shard") if getattr(sharing, name) is not None), None)
    if used is None:
        return None
    if kept is None:
        raise ValueError(f"--{used} needs a place for the results of each process; give {option} as well.")
    if sharing.shard is not None:
        if sharing.processes is not None:
            raise ValueError("--shard is one share, and --processes starts all of them; give one of the two.")
        return Shard.read(sharing.shard)
    assert sharing.processes is not None
    if sharing.processes < 1:
        raise ValueError(f"processes is {sharing.processes}; give 1 or more.")
    if sharing.processes > 1:
        run_shares(sharing.processes, GIVEN.get())
    return None


def run_shares(count: int, arguments: Sequence[str]) -> None:
    """Run `count` shares of the command with these arguments at the same time, and wait for them.

    They divide this process's threads among them, and this process keeps to as many as one of them: machines with
    other numbers of threads are other machines to a file of results. With several GPUs, each has one of them.

    Raises:
        RuntimeError: a process has failed.
    """
    import torch

    threads = max(1, torch.get_num_threads() // count)
    torch.set_num_threads(threads)
    own = without_processes(arguments)
    running = [
        Popen(
            [sys.executable, "-m", "planned_diffusion", *own, "--shard", f"{number}/{count}"],
            stdout=DEVNULL,
            env={**os.environ, "OMP_NUM_THREADS": str(threads), **_one_gpu(number, torch.cuda.device_count())},
        )
        for number in range(1, count + 1)
    ]
    try:
        ended = [process.wait() for process in running]
    finally:  # interrupted: their files are whole, whenever they end
        for process in running:
            process.terminate()
    failed = [number for number, status in enumerate(ended, start=1) if status]
    if failed:
        raise RuntimeError(f"Process {failed[0]} of {count} has failed, see above; the same command goes on.")


def without_processes(arguments: Sequence[str]) -> list[str]:
    """Return the arguments of a command without the option that starts its shares."""
    kept, skips = [], False
    for one in arguments:
        if skips:
            skips = False
        elif one == "--processes":
            skips = True
        elif not one.startswith("--processes="):
            kept.append(one)
    return kept


def _one_gpu(number: int, count: int) -> dict[str, str]:
    """Return the environment that shows one of several GPUs to a process; empty where there are not several."""
    if count < 2:
        return {}
    shown = os.environ.get("CUDA_VISIBLE_DEVICES") or ",".join(map(str, range(count)))
    return {"CUDA_VISIBLE_DEVICES": shown.split(",")[(number - 1) % count]}
