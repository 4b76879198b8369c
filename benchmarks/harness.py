"""Shared tools of the benchmarks: interleaved timing, median and spread, environment stamp, printing and keeping.

Competitors take turns (A B A B ...) after a warm-up, so that a machine whose speed drifts slows both; the quoted ratio
is the median of the pairwise ratios. Spread is the interquartile range as a fraction of the median.
"""

import argparse
import json
import os
import platform
import re
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

import torch
import transformers
from rich.console import Console
from rich.table import Table

WIDTH_OF_A_FILE = 150  # characters, where no terminal says how wide it is


def interleaved(
    competitors: dict[str, Callable[[], object]], repeats: int, limit_s: float = float("inf")
) -> dict[str, list[float]]:
    """Seconds of every repeat of every competitor, after one warm-up round.

    No round but the first starts later than `limit_s` seconds after the warm-up began.
    """
    seconds = {name: [] for name in competitors}
    began = time.perf_counter()
    for repeat in range(repeats + 1):
        if repeat > 1 and time.perf_counter() - began > limit_s:
            break
        for name, run in competitors.items():
            started = time.perf_counter()
            run()
            synchronize()
            if repeat:
                seconds[name].append(time.perf_counter() - started)
    return seconds


def synchronize() -> None:
    """Wait for the accelerator, if there is one."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def ratio(numerator: list[float], denominator: list[float]) -> float:
    """Median of the pairwise ratios."""
    return statistics.median(a / b for a, b in zip(numerator, denominator, strict=True))


def ratio_text(numerator: Sequence[float], denominator: Sequence[float]) -> str:
    """Median of the pairwise ratios with their quartiles, as text; a single ratio has none."""
    ratios = [a / b for a, b in zip(numerator, denominator, strict=True)]
    if len(ratios) < 2:
        return f"{ratios[0]:.2f}"
    low, middle, high = statistics.quantiles(ratios, n=4, method="inclusive")
    return f"{middle:.2f} ({low:.2f} to {high:.2f})"


def inverted(text: str) -> str:
    """Return the inverse of a ratio that is given as text, `0.50 (0.40 to 0.80)` -> `2.00 (1.25 to 2.50)`."""
    middle, *quartiles = (f"{1 / float(number):.2f}" for number in re.findall(r"[\d.]+", text))
    return f"{middle} ({quartiles[1]} to {quartiles[0]})" if quartiles else middle


def spread(seconds: list[float]) -> float:
    """Interquartile range / median; 0 for a single value."""
    if len(seconds) < 2:
        return 0.0
    first, _, third = statistics.quantiles(seconds, n=4, method="inclusive")
    return (third - first) / statistics.median(seconds)


def timing(seconds: list[float]) -> dict:
    """Return the columns of every timed row: median in milliseconds, spread in percent, repeats that counted."""
    return {
        "ms": 1000 * statistics.median(seconds),
        "spread %": 100 * spread(seconds),
        "repeats": len(seconds),
    }


def peak_bytes(device: str) -> int:
    """Peak memory so far: allocated on a GPU, else resident in this process."""
    if device == "cuda":
        return torch.cuda.max_memory_allocated()
    try:
        status = Path("/proc/self/status").read_text()
        return 1024 * int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1])
    except OSError:  # no Linux
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def stamp(**more) -> dict:
    """Date, commit, machine, versions, threads, load, command; `more` adds dtype, batch, seed, ..."""
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": _commit(),
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else _processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "load": round(os.getloadavg()[0], 2),  # more than the threads in use: the machine was shared
        "versions": ", ".join(
            (
                f"torch {torch.__version__}",
                f"transformers {transformers.__version__}",
                f"Python {platform.python_version()}",
            )
        ),
        "command": " ".join(["python", *sys.argv]),
        **more,
    }


def _commit() -> str:
    """Return the running commit, with "-dirty" if files other than results differ from it."""

    def git(*words: str) -> str:
        done = subprocess.run(["git", *words], capture_output=True, text=True, check=False, cwd=Path(__file__).parent)
        return done.stdout.strip()

    changed = git("status", "--porcelain", "--untracked-files=no", "--", ":/", ":(exclude)results")
    return git("rev-parse", "--short", "HEAD") + ("-dirty" if changed else "") or "not a git checkout"


def _processor() -> str:
    """The processor's name as the system gives it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def console() -> Console:
    """A console as wide as the terminal, or wide enough for the tables where there is none."""
    out = Console()
    return out if out.is_terminal else Console(width=WIDTH_OF_A_FILE)


def print_table(title: str, rows: list[dict]) -> None:
    """Rows (dicts) as a table; a row without an entry for some column leaves it empty."""
    keys = list(dict.fromkeys(key for row in rows for key in row))
    table = Table(title=title)
    for key in keys:
        numbers = any(isinstance(row.get(key), (int, float)) for row in rows)
        table.add_column(key, justify="right" if numbers else "left")
    for row in rows:
        table.add_row(*(shown(row.get(key, "")) for key in keys))
    console().print(table)


def shown(value) -> str:
    """Numbers with three significant digits, and everything else as it is."""
    if not isinstance(value, float):
        return str(value)
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def report(title: str, rows: list[dict], environment: dict, out: Path | None) -> None:
    """Prints rows as a table and, with `out`, keeps them as JSON."""
    environment = {**environment, "peak_gib": round(peak_bytes("cpu") / 2**30, 2)}
    print_table(title, rows)
    print_stamp(environment)
    if out is not None:
        write_json(out, {"title": title, "stamp": environment, "rows": rows})


def print_stamp(environment: dict) -> None:
    line = "; ".join(f"{key}: {value}" for key, value in environment.items())
    console().print(line, style="dim", highlight=False)


def write_json(path: Path, content: dict) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


class Arguments(argparse.ArgumentParser):
    """An argument parser that reports an error in one line."""

    def error(self, message: str):
        self.exit(2, f"error: {message}; see --help.\n")


def arguments(description: str) -> argparse.ArgumentParser:
    """Return a parser with the options that every benchmark has."""
    parser = Arguments(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--out", type=Path, help="also keep the results as JSON")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    return parser
