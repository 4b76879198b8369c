"""Every decoder with its main knobs on the same weights, in one process: a table, and the frontiers as a picture.

Quality is the share of facts exactly right; the costs are forwards and seconds per answer. A system is on the frontier
when no other has at least its quality at less cost. Definitions of all numbers: evaluate.py. Batches answer every
prompt; only the first ALONE are answered once more one at a time, for their seconds: answers differ by rounding alone.
"""

import json as jsonlib
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from textwrap import fill

from rich.console import Console
from rich.table import Table

from ..facts.generator import FactsQuestion, held_out_questions
from ..loading.embedded import EMBEDDED
from ..loading.load import load
from ..records.journal import Journal
from .measure import HELD_OUT_SEED, PLANNED, SYSTEMS, WIDTH_OF_A_FILE, Measurement, compare, stamp

ALONE = 100  # prompts
CANVAS = 128  # tokens; the longest held-out answer has 115

_FREE = {"confidence_threshold": None, "max_new_tokens": CANVAS}
_DIFFUSION = {"decoding": "diffusion", "steps_ratio": 1.0, **_FREE}
_FAST_DLLM = {"decoding": "fast_dllm", "unmasking": "confidence", "block_size": 32, **_FREE}
_BLOCKS = {"decoding": "block_diffusion", "steps_ratio": 1.0, **_FREE}
_APD = {"decoding": "adaptive_parallel", "max_new_tokens": CANVAS, "max_lookahead": 32}

# Name -> fields of generate; every field that matters is given, so that the checkpoint's defaults do not.
VARIANTS = {
    **SYSTEMS,
    "planned, ratio 0.25": {**PLANNED, "steps_ratio": 0.25},
    "planned, threshold 0.5": {**PLANNED, "confidence_threshold": 0.5},
    "planned, threshold 0.5, lookahead 3": {**PLANNED, "confidence_threshold": 0.5, "plan_lookahead": 3},
    "planned, factor 0.5": {**PLANNED, "unmasking_rule": "factor", "confidence_factor": 0.5},
    "planned, factor 1": {**PLANNED, "unmasking_rule": "factor", "confidence_factor": 1.0},
    "planned, entropy bound 0.1": {**PLANNED, "unmasking_rule": "entropy_bound", "entropy_bound": 0.1},
    "planned, entropy bound 0.5": {**PLANNED, "unmasking_rule": "entropy_bound", "entropy_bound": 0.5},
    "planned, deferred commitment": {
        **PLANNED, "unmasking_rule": "deferred_commitment", "confidence_threshold": 0.9,
    },
    "planned, threshold 0.5, refine 0.25": {**PLANNED, "confidence_threshold": 0.5, "refine_share": 0.25},
    "parallel autoregressive": {"decoding": "parallel_autoregressive", "plan_lookahead": 0},
    "parallel autoregressive, lookahead 3": {"decoding": "parallel_autoregressive", "plan_lookahead": 3},
    "self-verified, one step": {**PLANNED, "decoding": "self_verified", "steps_ratio": 0.01},
    "self-verified, threshold 0.5": {**PLANNED, "decoding": "self_verified", "confidence_threshold": 0.5},
    "diffusion, ratio 1": _DIFFUSION,
    "diffusion, ratio 0.5": {**_DIFFUSION, "steps_ratio": 0.5},
    "diffusion, threshold 0.9": {**_DIFFUSION, "confidence_threshold": 0.9},
    "diffusion, entropy bound 0.1": {**_DIFFUSION, "unmasking_rule": "entropy_bound", "entropy_bound": 0.1},
    "diffusion, deferred commitment": {
        **_DIFFUSION, "unmasking_rule": "deferred_commitment", "confidence_threshold": 0.9,
    },
    "Fast-dLLM, no cache, threshold 0.9": {**_FAST_DLLM, "block_cache": "none", "confidence_threshold": 0.9},
    "Fast-dLLM, prefix cache, threshold 0.9": {**_FAST_DLLM, "block_cache": "prefix", "confidence_threshold": 0.9},
    "Fast-dLLM, dual cache, threshold 0.9": {**_FAST_DLLM, "block_cache": "dual", "confidence_threshold": 0.9},
    "Fast-dLLM, dual cache, factor 1": {
        **_FAST_DLLM, "unmasking": "entropy", "block_cache": "dual", "unmasking_rule": "factor",
        "confidence_factor": 1.0,
    },
    "blocks of 1": {**_BLOCKS, "block_size": 1},
    "blocks of 4, threshold 0.9": {**_BLOCKS, "block_size": 4, "confidence_threshold": 0.9},
    "blocks of 8, threshold 0.9": {**_BLOCKS, "block_size": 8, "confidence_threshold": 0.9},
    "blocks of 32, threshold 0.9": {**_BLOCKS, "block_size": 32, "confidence_threshold": 0.9},
    "blocks of 8, threshold 0.9, refine 0.25": {
        **_BLOCKS, "block_size": 8, "confidence_threshold": 0.9, "refine_share": 0.25,
    },
    "APD, R 0.9": {**_APD, "mixture_weight": 0.9},
    "APD, R 0.7": {**_APD, "mixture_weight": 0.7},
    "APD, R 0.5": {**_APD, "mixture_weight": 0.5},
}  # fmt: skip


@dataclass(frozen=True)
class Point:
    """One system: its quality, and its costs per answer; seconds alone and in batches."""

    system: str
    decoding: str
    quality: float
    forwards: float
    seconds_alone: float
    seconds_batched: float


def undominated(points: Sequence[Point], cost: str) -> list[Point]:
    """The frontier, by rising cost: no other point has at least the quality at less cost, or more at the same."""
    frontier, best = [], float("-inf")
    for point in sorted(points, key=lambda point: (getattr(point, cost), -point.quality)):
        if point.quality > best:
            frontier.append(point)
            best = point.quality
    return frontier


def measure_all(
    model: str | None = None,
    count: int = 500,
    batch_size: int = 8,
    json: bool = False,
    plot: Path | None = None,
    decoding: str | None = None,
    keep: Path | None = None,
) -> list[Measurement]:
    """Answers `count` held-out prompts with every variant, in batches and one at a time; prints, draws, returns rows.

    The rows are those of the batches, followed by those alone. What is measured is written into `keep` at once; a run
    with the same `keep`, checkpoint, code and machine goes on from there.

    Raises:
        ValueError: no variant of that name, a count or batch size below 1, or a `keep` of another run.
        RuntimeError: a plot is wanted and matplotlib is missing, or `keep` cannot be written.
    """
    variants = {name: fields for name, fields in VARIANTS.items() if decoding in (None, fields["decoding"])}
    if not variants:
        known = dict.fromkeys(fields["decoding"] for fields in VARIANTS.values())
        raise ValueError(f"decoding is {decoding!r}; choose one of {', '.join(known)}.")
    if count < 1 or batch_size < 1:
        raise ValueError(f"count is {count} and batch_size {batch_size}; both must be at least 1.")
    if plot is not None:
        figure_class()  # before the work, not after it
    path = str(model or EMBEDDED)
    loaded, tokenizer = load(path)
    loaded.eval()
    environment = {**stamp(loaded, batch_size), "batch": f"{batch_size} and 1"}
    questions = held_out_questions(count, HELD_OUT_SEED)
    settings = {**environment, "model": path, "count": count, "date": None, "command": None}
    rows = []
    with Journal(keep, settings) if keep else nullcontext() as journal:
        try:
            for pair in pairs(loaded, tokenizer, questions, batch_size, variants, journal):
                rows.append(pair)
        finally:  # who interrupts it sees what there is
            if rows:
                report(*zip(*rows, strict=True), batch_size, environment, json, plot)
    return [row for which in zip(*rows, strict=True) for row in which]


def report(
    batched: Sequence[Measurement],
    alone: Sequence[Measurement],
    batch_size: int,
    environment: dict,
    json: bool,
    plot: Path | None,
) -> None:
    """Prints both runs as a table or JSON, and draws them."""
    if json:
        rows = {"results": [asdict(row) for row in batched], "results_alone": [asdict(row) for row in alone]}
        print(jsonlib.dumps({"stamp": environment, **rows}, indent=1))
    else:
        out = Console()
        if not out.is_terminal:
            out = Console(width=WIDTH_OF_A_FILE)
        out.print(table(batched, alone, batch_size))
        out.print("; ".join(f"{key}: {value}" for key, value in environment.items()), style="dim", highlight=False)
    if plot is not None:
        draw(points(batched, alone), environment, plot)


def pairs(
    model,
    tokenizer,
    questions: list[FactsQuestion],
    batch_size: int,
    variants: dict[str, dict],
    journal: Journal | None,
) -> Iterator[tuple[Measurement, Measurement]]:
    """(in batches, alone) of every variant; those in the journal are not measured again."""
    kept = {entry["hash"]: entry["rows"] for entry in journal.entries(len(VARIANTS))} if journal is not None else {}
    for name, fields in variants.items():
        fingerprint = jsonlib.dumps([name, fields])
        if fingerprint not in kept:
            (batched,) = compare(model, tokenizer, questions, batch_size, {name: fields})
            (alone,) = compare(model, tokenizer, questions[:ALONE], 1, {f"{name}, alone": fields})
            kept[fingerprint] = [asdict(batched), {**asdict(alone), "system": name}]
            if journal is not None:
                index = list(VARIANTS).index(name)
                journal.append({"index": index, "hash": fingerprint, "rows": kept[fingerprint]})
        batched, alone = (Measurement(**row) for row in kept[fingerprint])
        yield batched, alone


def points(batched: Sequence[Measurement], alone: Sequence[Measurement]) -> list[Point]:
    """Both runs of every system as one point."""
    return [
        Point(row.system, VARIANTS[row.system]["decoding"], row.facts_right, row.forwards, one.seconds, row.seconds)
        for row, one in zip(batched, alone, strict=True)
    ]


def table(batched: Sequence[Measurement], alone: Sequence[Measurement], batch_size: int) -> Table:
    """A row per system; * marks the frontier of facts right and forwards."""
    best = {point.system for point in undominated(points(batched, alone), "forwards")}
    result = Table(title=f"{batched[0].answers} held-out facts prompts; * no other is better at fewer forwards")
    headers = (
        "", "facts right", "answers right", "forwards", "critical path", "tokens / forward", "tokens run", "ms alone",
        f"ms, batch {batch_size}",
    )  # fmt: skip
    for header in headers:
        result.add_column(header, justify="right" if header else "left")
    for row, one in zip(batched, alone, strict=True):
        result.add_row(
            row.system + (" *" if row.system in best else ""),
            f"{row.facts_right:.1%}",
            f"{row.answers_right:.1%}",
            f"{row.forwards:.1f}",
            f"{row.critical_path:.1f}",
            f"{row.tokens / row.forwards:.2f}",
            f"{row.tokens_run:.0f}",
            f"{one.seconds * 1000:.0f}",
            f"{row.seconds * 1000:.0f}",
        )
    return result


def figure_class():
    """matplotlib's Figure, which needs no display."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise RuntimeError("A plot needs matplotlib; run pip install 'planned-diffusion[eval]'.") from error
    return Figure


def draw(measured: Sequence[Point], environment: dict, path: Path) -> None:
    """Quality against forwards and seconds, with the frontiers; the stamp stands below. The suffix names the format."""
    costs = {"forwards": "forwards per answer", "seconds_batched": "seconds per answer, in batches"}
    decodings = list(dict.fromkeys(point.decoding for point in measured))
    figure = figure_class()(figsize=(13, 7), layout="constrained")
    for axes, (cost, label) in zip(figure.subplots(1, 2, sharey=True), costs.items(), strict=True):
        for index, decoding in enumerate(decodings):
            of_one = [point for point in measured if point.decoding == decoding]
            x, y = [getattr(point, cost) for point in of_one], [point.quality for point in of_one]
            axes.scatter(x, y, label=decoding.replace("_", " "), color=f"C{index}", marker="osD^vP*X"[index % 8])
        draw_frontier(axes, undominated(measured, cost), cost)
        axes.set_xscale("log", subs=(2, 3, 5))
        for formatted in (axes.xaxis.set_major_formatter, axes.xaxis.set_minor_formatter):
            formatted("{x:g}")
        axes.set_xlabel(label)
        axes.grid(alpha=0.3)
    axes.legend(fontsize=8, loc="lower right")
    figure.axes[0].set_ylabel("facts right")
    stamp_lines = fill("; ".join(f"{key}: {value}" for key, value in environment.items()), width=190)
    figure.supxlabel(stamp_lines, fontsize=6, color="0.4")
    figure.savefig(path, dpi=150)


def draw_frontier(axes, frontier: Sequence[Point], cost: str) -> None:
    """A line through the points, numbered, and their names."""
    x, y = [getattr(point, cost) for point in frontier], [point.quality for point in frontier]
    axes.step(x, y, where="post", color="0.6", linewidth=1, zorder=0)
    for number, place in enumerate(zip(x, y, strict=True), start=1):
        axes.annotate(str(number), place, textcoords="offset points", xytext=(-9, 4), fontsize=8)
    names = [f"{number}  {point.system}" for number, point in enumerate(frontier, start=1)]
    listed = "\n".join(["nothing better at less cost:", *names])
    axes.text(0.3, 0.3, listed, transform=axes.transAxes, fontsize=7, va="top")
