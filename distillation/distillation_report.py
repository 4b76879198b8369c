"""The report of a run: how many answers were dropped by which rule, what was kept, and how it is planned."""

import json
import os
import platform
from collections import Counter
from collections.abc import Iterable
from datetime import date
from pathlib import Path
from statistics import mean, quantiles

import torch
import transformers

from .. import __version__
from ..loading.adapter_base import hash_of_weights
from ..records.tagged import parse_tagged, plain_text
from .answer_assembly import OVERLAP, PART_RULES, UNFINISHED
from .answer_filters import DUPLICATE, RULES, words_of
from .distillation_job import DistillationJob, Folder, Row, rows_of

PLANNED = ("parallel", "steps")
REASONS = (*RULES, UNFINISHED, *PART_RULES, OVERLAP, DUPLICATE)


def write_report(job: DistillationJob, folder: Folder) -> Row:
    """Count what a finished run has written; write and return the report."""
    files = (folder.prompts, folder.dropped, folder.kept, folder.contrary, folder.records)
    prompts, dropped, kept, contrary, records = (list(rows_of(file)) for file in files)
    report = {
        "stamp": stamp(job),
        "settings": job.settings(),
        "prompts": len(prompts),
        "failed": len(prompts) - len(kept) - len(dropped),
        "dropped": dict.fromkeys(REASONS, 0) | Counter(row["reason"] for row in dropped),
        "kept": len(kept),
        "contrary": dict(sorted(Counter(row["annotation"] for row in contrary).items())),
        "records": len(records),
        "kinds": by_kind(prompts, dropped, records),
        "planned": {
            "all": parallel_share(records),
            "asks for parts": parallel_share(row for row in records if row["parts"]),
            "must stay whole": parallel_share(row for row in records if row["parts"] is False),
        },
        "made": dict(sorted(Counter(row["made"] for row in records).items())),
        "parts_per_plan": parts_per_plan(records),
        "words_per_answer": spread([len(words_of(plain_text(_answer(row)))) for row in records]),
        "temperatures": dict(sorted(Counter(str(row["temperature"]) for row in records).items())),
        "annotation": json.loads(folder.annotation.read_text(encoding="utf-8")),
    }
    folder.report.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    return report


def stamp(job: DistillationJob) -> Row:
    """Return the circumstances of a run: date, model, the hash of its weights, versions, machine."""
    model = Path(job.model)
    return {
        "date": date.today().isoformat(),
        "model": job.name,
        "weights_sha256": hash_of_weights(model) if model.is_dir() else None,
        "seed": job.seed,
        "versions": {
            "planned_diffusion": __version__,
            "python": platform.python_version(),
            "torch": torch.__version__,
            "transformers": transformers.__version__,
        },
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
    }


def by_kind(prompts: Iterable[Row], dropped: Iterable[Row], records: Iterable[Row]) -> dict[str, Row]:
    """Return per kind of prompt: prompts, dropped answers, records, and the number and share of these with a plan."""
    asked, lost = (Counter(row["kind"] for row in rows) for rows in (prompts, dropped))
    records = list(records)
    kept = Counter(row["kind"] for row in records)
    parallel = Counter(row["kind"] for row in records if row["annotation"] == "parallel")
    return {
        kind: {"prompts": asked[kind], "dropped": lost[kind], "records": kept[kind], "parallel": parallel[kind]}
        | {"planned": round(parallel[kind] / kept[kind], 4) if kept[kind] else None}
        for kind in sorted(asked)
    }


def parallel_share(records: Iterable[Row]) -> float | None:
    """Return the share of records with parallel parts; None without records."""
    parallel = [row["annotation"] == "parallel" for row in records]
    return round(mean(parallel), 4) if parallel else None


def parts_per_plan(records: Iterable[Row]) -> dict[str, int]:
    """Return how many planned answers have how many parts in their widest round."""
    rounds = [parse_tagged(_answer(row)) for row in records if row["annotation"] in PLANNED]
    counts = Counter(max(len(spans) for spans in one) for one in rounds if one)
    return {str(parts): counts[parts] for parts in sorted(counts)}


def spread(numbers: list[int]) -> Row:
    """Return mean, quartiles and largest of numbers."""
    if len(numbers) < 2:
        return {"mean": numbers[0] if numbers else None}
    quarters = [round(edge, 1) for edge in quantiles(numbers, n=4, method="inclusive")]
    return {"mean": round(mean(numbers), 1), "quartiles": quarters, "largest": max(numbers)}


def _answer(row: Row) -> str:
    return row["messages"][-1]["content"]
