"""Measures decoders on held-out facts prompts, all on the same weights in one process, and prints a table.

Definitions. Answers right: every fact of the answer exactly right (metric.py); facts right: share of single facts.
Forwards and critical path: mean per answer (trace.py). Tokens: text written, without pads, plan and tags. Seconds: wall
clock of the whole set, batches included, divided by the answers.
"""

import json as jsonlib
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path

import torch
import transformers
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from ..facts.generator import FactsQuestion, held_out_questions
from ..facts.metric import facts_right
from ..generation.mixin import PlannedDiffusionOutput
from ..loading.embedded import EMBEDDED
from ..loading.load import load

HELD_OUT_SEED = 2026  # other than that of the evaluation file of the training recipe
MANY_PARTS = 3
WIDTH_OF_A_FILE = 150  # characters, where no terminal says how wide it is

# Name -> fields of generate; every field that matters is given, so that the checkpoint's defaults do not.
PLANNED = {"decoding": "planned", "steps_ratio": 1.0, "confidence_threshold": None, "plan_lookahead": 0}
SYSTEMS = {
    "planned, ratio 1": PLANNED,
    "planned, ratio 0.5": {**PLANNED, "steps_ratio": 0.5},
    "planned, threshold 0.9": {**PLANNED, "confidence_threshold": 0.9},
    "planned, threshold 0.7": {**PLANNED, "confidence_threshold": 0.7},
    "planned, threshold 0.9, lookahead 3": {**PLANNED, "confidence_threshold": 0.9, "plan_lookahead": 3},
    "autoregressive": {"decoding": "autoregressive"},
}


@dataclass(frozen=True)
class Measurement:
    """Means over the answers of one system; `many_parts_*` over the prompts with MANY_PARTS parts or more."""

    system: str
    answers: int
    answers_right: float
    facts_right: float
    forwards: float
    many_parts_forwards: float
    critical_path: float
    tokens: float
    tokens_run: float
    seconds: float


@dataclass(frozen=True)
class Answered:
    question: FactsQuestion
    text: str
    trace: object


def answer(model, tokenizer, questions: list[FactsQuestion], batch_size: int, **fields) -> Iterable[Answered]:
    """Generates an answer per question, `batch_size` at a time."""
    for start in range(0, len(questions), batch_size):
        batch = questions[start : start + batch_size]
        inputs = tokenizer([question.prompt for question in batch], padding=True, return_tensors="pt").to(model.device)
        out: PlannedDiffusionOutput = model.generate(
            input_ids=inputs["input_ids"],
            attention_mask=inputs["attention_mask"],
            return_dict_in_generate=True,
            **fields,
        )
        texts = tokenizer.batch_decode(out.sequences[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
        for question, text, trace in zip(batch, texts, out.trace, strict=True):
            yield Answered(question, text, trace)


def measure(system: str, answered: list[Answered], seconds: float) -> Measurement:
    """Folds the answers of one system into its row of the table."""
    scores = [facts_right(one.question, one.text) for one in answered]
    many = [one for one in answered if len(one.question.statements) >= MANY_PARTS]
    mean = statistics.fmean
    return Measurement(
        system=system,
        answers=len(answered),
        answers_right=mean(score.complete for score in scores),
        facts_right=sum(score.right for score in scores) / sum(score.total for score in scores),
        forwards=mean(one.trace.forwards for one in answered),
        many_parts_forwards=mean(one.trace.forwards for one in many) if many else float("nan"),
        critical_path=mean(one.trace.critical_path for one in answered),
        tokens=mean(one.trace.tokens for one in answered),
        tokens_run=mean(one.trace.tokens_run for one in answered),
        seconds=seconds / len(answered),
    )


def stamp(model, batch_size: int) -> dict:
    """What a reported result was measured with."""
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, cwd=Path(__file__).parent, check=False
    ).stdout.strip()
    return {
        "date": date.today().isoformat(),
        "commit": commit or "not a git checkout",
        "machine": f"{platform.machine()}, {torch.get_num_threads()} threads, {model.device}",
        "versions": ", ".join(
            (
                f"torch {torch.__version__}",
                f"transformers {transformers.__version__}",
                f"Python {platform.python_version()}",
            )
        ),
        "dtype": str(model.dtype).removeprefix("torch."),
        "batch": batch_size,
        "seed": HELD_OUT_SEED,
        "command": "planned-diffusion " + " ".join(sys.argv[1:]),
    }


def table(measurements: list[Measurement], count: int) -> Table:
    result = Table(title=f"{count} held-out facts prompts")
    headers = (
        "",
        "answers right",
        "facts right",
        "forwards",
        f"forwards, {MANY_PARTS}+ parts",
        "critical path",
        "tokens",
    )
    for header in (*headers, "tokens run", "ms per answer"):
        result.add_column(header, justify="right" if header else "left")
    for row in measurements:
        result.add_row(
            row.system,
            f"{row.answers_right:.1%}",
            f"{row.facts_right:.1%}",
            f"{row.forwards:.1f}",
            f"{row.many_parts_forwards:.1f}",
            f"{row.critical_path:.1f}",
            f"{row.tokens:.1f}",
            f"{row.tokens_run:.0f}",
            f"{row.seconds * 1000:.0f}",
        )
    return result


def run(
    model: str | None = None,
    count: int = 500,
    batch_size: int = 8,
    json: bool = False,
    systems: list[str] | None = None,
) -> list[Measurement]:
    """Answers `count` held-out prompts with every system (or those named), prints the table or JSON, returns the rows.

    Raises:
        ValueError: an unknown system, or a count or batch size below 1.
    """
    unknown = sorted(set(systems or ()) - set(SYSTEMS))
    if unknown:
        raise ValueError(f"There is no system {unknown[0]!r}; choose among {', '.join(SYSTEMS)}.")
    if count < 1 or batch_size < 1:
        raise ValueError(f"count is {count} and batch_size {batch_size}; both must be at least 1.")
    chosen = {name: SYSTEMS[name] for name in systems or SYSTEMS}
    path = str(model or EMBEDDED)
    loaded, tokenizer = load(path)
    loaded.eval()
    measurements = compare(loaded, tokenizer, held_out_questions(count, HELD_OUT_SEED), batch_size, chosen)
    environment = stamp(loaded, batch_size)
    if json:
        print(jsonlib.dumps({"stamp": environment, "results": [asdict(row) for row in measurements]}, indent=1))
    else:
        out = Console()
        if not out.is_terminal:
            out = Console(width=WIDTH_OF_A_FILE)
        out.print(table(measurements, count))
        out.print("; ".join(f"{key}: {value}" for key, value in environment.items()), style="dim", highlight=False)
    return measurements


def compare(
    model, tokenizer, questions: list[FactsQuestion], batch_size: int, systems: dict[str, dict]
) -> list[Measurement]:
    """A row per system (name -> fields of generate); a progress bar on a terminal."""
    console = Console(stderr=True)
    measurements = []
    with Progress(console=console, disable=not console.is_terminal) as progress:
        for name, fields in systems.items():
            task = progress.add_task(name, total=len(questions))
            started, answered = time.perf_counter(), []
            for one in answer(model, tokenizer, questions, batch_size, **fields):
                answered.append(one)
                progress.advance(task)
            measurements.append(measure(name, answered, time.perf_counter() - started))
    return measurements
