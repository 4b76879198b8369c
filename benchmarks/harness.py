"""What the benchmarks share: interleaved timing, an environment stamp, one way to print and keep results.

Competitors take turns (A B A B ...), so that a machine whose speed drifts slows both; the quoted figure is the median
of the pairwise ratios. Memory is the process's peak.
"""

import argparse
import json
import platform
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import torch
import transformers
from rich.console import Console
from rich.table import Table


def interleaved(competitors: dict[str, Callable[[], object]], repeats: int) -> dict[str, list[float]]:
    """Seconds of every repeat of every competitor, after one warm-up round."""
    seconds = {name: [] for name in competitors}
    for repeat in range(repeats + 1):
        for name, run in competitors.items():
            started = time.perf_counter()
            run()
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            if repeat:
                seconds[name].append(time.perf_counter() - started)
    return seconds


def ratio(numerator: list[float], denominator: list[float]) -> float:
    """Median of the pairwise ratios."""
    return statistics.median(a / b for a, b in zip(numerator, denominator, strict=True))


def stamp(**more) -> dict:
    """Date, commit, machine, versions, threads, command; `more` adds dtype, batch, seed, ..."""
    commit = subprocess.run(["git", "describe", "--always", "--dirty"], capture_output=True, text=True, check=False)
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else platform.processor() or platform.machine()
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": commit.stdout.strip(),
        "device": device,
        "threads": torch.get_num_threads(),
        "versions": ", ".join(
            (
                f"torch {torch.__version__}",
                f"transformers {transformers.__version__}",
                f"Python {platform.python_version()}",
            )
        ),
        "command": " ".join(sys.argv),
        **more,
    }


def report(title: str, rows: list[dict], environment: dict, out: Path | None) -> None:
    """Prints rows (dicts with equal keys) as a table and, with `out`, keeps them as JSON."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    environment = {**environment, "peak_gib": round(peak, 2)}
    console, table = Console(), Table(title=title)
    for key in rows[0]:
        table.add_column(key, justify="right" if isinstance(rows[0][key], (int, float)) else "left")
    for row in rows:
        table.add_row(*(f"{value:.3f}" if isinstance(value, float) else str(value) for value in row.values()))
    console.print(table)
    console.print("; ".join(f"{key}: {value}" for key, value in environment.items()), style="dim", highlight=False)
    if out is not None:
        out.write_text(json.dumps({"title": title, "stamp": environment, "rows": rows}, indent=1) + "\n")


def arguments(description: str) -> argparse.ArgumentParser:
    """The options that every benchmark has."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--out", type=Path, help="also keep the results as JSON")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    return parser
