"""AlpacaEval (`evaluate --task alpaca_eval`): answers as a standard task, then files for the tool, then its judge."""

import re
from dataclasses import dataclass
from pathlib import Path

from .alpaca_answers import check_judge, judge, model_outputs, write_outputs
from .standard_tasks import STANDARD_TASKS, StandardRows, evaluate_standard
from .text_settings import TextEvaluation


@dataclass(frozen=True)
class JudgedOutputs:
    """Where the files for the tool go, and whether its judge is asked.

    folder: gets a folder per system with its `model_outputs.json`; None writes none.
    asks_judge: call the tool on each of them; this needs its key.
    reference: file of answers to compare with; None: those of the tool.

    Raises:
        ValueError: a judge without a folder or a key, or no such reference.
        RuntimeError: a judge that is not installed.
    """

    folder: Path | None = None
    asks_judge: bool = False
    reference: Path | None = None

    def __post_init__(self) -> None:
        if self.asks_judge and self.folder is None:
            raise ValueError("The judge reads files of answers; give --outputs FOLDER as well.")
        if self.reference is not None and not self.asks_judge:
            raise ValueError("--reference is for the judge; give --judge as well, or leave it out.")
        if self.reference is not None and not self.reference.is_file():
            raise ValueError(f"There is no file {self.reference}; give --reference answers in the tool's format.")
        if self.folder is not None and self.folder.exists() and not self.folder.is_dir():
            raise ValueError(f"{self.folder} is no folder; give --outputs another name.")
        if self.asks_judge:
            check_judge()


def evaluate_alpaca_eval(
    evaluation: TextEvaluation, outputs: JudgedOutputs, keep: Path | None = None
) -> dict[str, Path]:
    """Answer the instructions of a file; write the answers of every system, and ask the judge.

    Returns:
        The file that was written, by system; none for a share of the run.

    Raises:
        ValueError, RuntimeError: as `evaluate_standard`.
    """
    answers = evaluate_standard("alpaca_eval", evaluation, keep)
    if outputs.folder is None or evaluation.shard is not None:  # a share of the answers is no file for the tool
        return {}
    rows = StandardRows.read(STANDARD_TASKS["alpaca_eval"], evaluation.prompts, evaluation.count).rows
    written = {}
    for system in dict.fromkeys(one.system for one in answers):
        own = [one for one in answers if one.system == system]
        generator = f"{Path(evaluation.model).name}, {system}"
        found = model_outputs([rows[one.asked.line] for one in own], [one.text for one in own], generator)
        folder = outputs.folder / re.sub(r"[^a-z0-9.]+", "-", system.lower()).strip("-")
        written[system] = write_outputs(folder, found)
    if outputs.asks_judge:
        for system, path in written.items():
            judge(path, outputs.reference, f"{Path(evaluation.model).name}, {system}")
    return written
