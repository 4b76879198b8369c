"""`planned-diffusion study`: studies of the paper's findings; each gives tables, JSON, Markdown and a picture."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from typer import Argument, Option

from .model_names import checkpoint_of
from .options import Model, Output, quiet
from .progress import progress_bar
from .sharing import Sharing, share_out


@dataclass(frozen=True)
class Answering:
    """Options for the questions of a study, and where its results go."""

    model: Model = None
    count: Annotated[int, Option(help="Number of held-out questions about countries.")] = 100
    batch_size: Annotated[int, Option(help="Questions answered together; 1: as for one reader who waits.")] = 1
    out: Annotated[
        Path | None,
        Option(
            metavar="FOLDER",
            help="Folder for NAME.jsonl (every answer, at once), NAME.json, NAME.md and NAME.png; a run with the same "
            "folder continues.",
        ),
    ] = None


def study(
    name: Annotated[
        Literal["steps", "attention", "length", "topics", "sync", "parts", "decoders"],
        Argument(
            metavar="NAME",
            help="steps: steps_ratio and confidence_threshold; attention: sparse and dense; length: length_scale from "
            "0.5 to 2.5; topics: plans without them; sync: plans in one round; parts: facts of a question against "
            "speed; decoders: all of them, with their area measure.",
        ),
    ],
    answering: Answering,
    sharing: Sharing,
    output: Output,
) -> None:
    """Examine findings of the paper: systems answer the same held-out questions, with intervals and verdicts."""
    if answering.out is not None and answering.out.exists() and not answering.out.is_dir():
        raise ValueError(f"{answering.out} is no folder; give --out another name.")
    source = checkpoint_of(answering.model, output.debug)
    quiet(output.debug)
    shard = share_out(sharing, answering.out, "--out")
    from ..evaluation.study_run import StudySettings, run_study

    settings = StudySettings(
        source, answering.count, answering.batch_size, answering.out, output.as_json, shard, progress_bar
    )
    run_study(name, settings)
