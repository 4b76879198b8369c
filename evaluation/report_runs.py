"""Read finished or unfinished runs for a report: answers that were kept, figures as JSON, and folders of training runs.

FILE.jsonl    answers of `evaluate --keep` and `pays --keep`; of facts, the figures of each system
FILE.json     figures that `evaluate --json` or `pays --json` printed
FOLDER        a training run (trainer_state.json of its newest checkpoint, or training.json; samples.jsonl), and
              results.json, as checkpoints carry it
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from .both_ways import sides_of
from .text_answers import TextAnswer
from .text_report import measurements_of
from .variants import VARIANTS
from .verdict import verdict_on

GIVE = "give the file of --keep, the output of --json, or the folder of a training run"
TABLES = {"results": "in batches", "results_alone": "one at a time"}  # keys of printed figures -> how answered


@dataclass(frozen=True)
class FigureRows:
    """The figures of some systems: a row per system, of plain numbers or of estimates (value, low, high, count)."""

    how: str
    rows: Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class ReportedRun:
    """A run as a report tells it; every part may be empty.

    stamp: circumstances of the measurement. verdict: the sentence of `pays`. log: entries of the Trainer's log.
    samples: lines of samples.jsonl.
    """

    name: str
    stamp: Mapping[str, Any] = field(default_factory=dict)
    verdict: str = ""
    figures: Sequence[FigureRows] = ()
    answers: Sequence[TextAnswer] = ()
    log: Sequence[Mapping[str, Any]] = ()
    samples: Sequence[Mapping[str, Any]] = ()


def read_run(path: Path) -> ReportedRun:
    """Return a run.

    Raises:
        ValueError: no such file or folder, or one that holds no run.
        KeyError, TypeError, AttributeError: a run that lacks what it should hold.
    """
    if path.is_dir():
        return _of_folder(path)
    if not path.is_file():
        raise ValueError(f"There is no file or folder {path}; {GIVE}.")
    return _of_answers(path) if path.suffix == ".jsonl" else _of_figures(path)


def _of_answers(path: Path) -> ReportedRun:
    """Read a file of kept answers; a last line that is torn, as of a run that was killed, is left out."""
    entries = list(_whole_lines(path))
    if not entries or "settings" not in entries[0]:
        raise ValueError(f"{path} does not begin with the settings of a run; {GIVE}.")
    stamp, rows = entries[0]["settings"], entries[1:]
    if rows and "rows" in rows[0]:  # of facts: figures in batches, and alone
        pairs = [entry["rows"] for entry in rows]
        figures = [
            FigureRows(how, [pair[place] for pair in pairs]) for place, how in enumerate(TABLES.values()) if pairs[0]
        ]
        return ReportedRun(path.name, stamp, figures=figures)
    latest = {entry["hash"]: entry["answer"] for entry in rows}
    answers = [TextAnswer.from_json(answer) for answer in latest.values()]
    sizes = dict.fromkeys(one.batch_size for one in answers)
    figures = [FigureRows(_how(size), [asdict(row) for row in measurements_of(answers, size)]) for size in sizes]
    return ReportedRun(path.name, stamp, _verdict_of(answers, stamp), figures, answers)


def _verdict_of(answers: Sequence[TextAnswer], stamp: Mapping[str, Any]) -> str:
    """Return the verdict of `pays` on its answers, with the tolerance that holds where nothing is said."""
    if stamp.get("task") != "pays":
        return ""
    sides = sides_of(answers, VARIANTS)
    is_compared = sides.left_to_right and sides.planners  # the run was not stopped before
    return verdict_on(sides, VARIANTS).sentence if is_compared else ""


def _how(batch_size: int) -> str:
    return "one at a time" if batch_size == 1 else f"in batches of {batch_size}"


def _whole_lines(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the objects of a file of lines, but for a torn one at its end.

    Raises:
        ValueError: another line that is no object.
    """
    lines = path.read_bytes().splitlines(keepends=True)
    for number, line in enumerate(lines, start=1):
        try:
            found = json.loads(line)
        except (ValueError, RecursionError) as error:
            if number == len(lines) and not line.endswith(b"\n"):
                return
            raise ValueError(f"{path}, line {number}: not JSON ({error}); {GIVE}.") from error
        if not isinstance(found, dict):
            raise ValueError(f"{path}, line {number}: {type(found).__name__} instead of an object; {GIVE}.")
        yield found


def _of_figures(path: Path) -> ReportedRun:
    """Read printed figures."""
    found = _json_of(path)
    if not isinstance(found, dict) or not any(found.get(key) for key in TABLES):
        raise ValueError(f"{path} holds no results; {GIVE}.")
    figures = [FigureRows(how, found[key]) for key, how in TABLES.items() if found.get(key)]
    if len(figures) == 2 and figures[0].rows == figures[1].rows:  # never in batches
        figures = figures[1:]
    verdict = found["verdict"]["sentence"] if "verdict" in found else ""
    if verdict:  # of `pays`, which says in its stamp how many were answered together
        figures = [FigureRows(_how(found["stamp"]["batch"]), one.rows) for one in figures]
    return ReportedRun(path.name, found.get("stamp", {}), verdict, figures)


def _of_folder(path: Path) -> ReportedRun:
    """Read what a folder holds of a training run and of results."""
    states = sorted(path.glob("checkpoint-*/trainer_state.json"), key=lambda file: int(file.parent.name.split("-")[1]))
    log: list[Mapping[str, Any]] = []
    if states:
        log = _json_of(states[-1])["log_history"]
    elif (path / "training.json").is_file():
        log = _json_of(path / "training.json")["log"]
    samples = list(_whole_lines(path / "samples.jsonl")) if (path / "samples.jsonl").is_file() else []
    results = path / "results.json"
    measured = _of_figures(results) if results.is_file() else ReportedRun(path.name)
    if not (log or samples or measured.figures):
        raise ValueError(f"{path} holds neither a log of training nor results; {GIVE}.")
    return ReportedRun(path.name, measured.stamp, measured.verdict, measured.figures, (), log, samples)


def _json_of(path: Path) -> Any:  # noqa: ANN401
    """Return what a JSON file holds.

    Raises:
        ValueError: it is no JSON.
    """
    try:
        return json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is no JSON ({error}); {GIVE}.") from error
