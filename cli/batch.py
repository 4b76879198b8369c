"""`planned-diffusion batch`: answer a file of requests; a progress bar, and one line (or object) at the end."""

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar

from typer import Argument, Option

from .field_options import given_fields
from .model_names import checkpoint_of
from .options import Loading, Output, quiet

if TYPE_CHECKING:
    from ..inference.batch.run import Summary


@dataclass(frozen=True)
class Scheduling:
    """Options for how many requests run at a time, and where."""

    panel: ClassVar[str] = "Batching and workers"
    batch_size: Annotated[
        int | None, Option(help="Requests that run together, per worker; default: 32, on a GPU 64.")
    ] = None
    workers: Annotated[int | None, Option(help="Ray worker processes, each with a model; on GPUs, one per GPU.")] = None
    ray: Annotated[
        str | None, Option(metavar="ADDRESS", help="Address of a running Ray cluster; auto: the one on this machine.")
    ] = None
    compiled: Annotated[
        bool, Option("--compile", help="Compile the model first, which takes minutes; for long files.")
    ] = False


def batch(
    source: Annotated[
        Path,
        Argument(
            metavar="IN",
            help="JSONL file of requests (prompt or messages; optional: id, plan, fields); - is standard input.",
        ),
    ],
    out: Annotated[Path, Argument(metavar="OUT", help="JSONL file of answers to write, in the order of IN.")],
    loading: Loading,
    scheduling: Scheduling,
    output: Output,
    **fields: object,
) -> int:
    """Answer a file of requests, many at a time.

    Resumable: run the same command again after an interruption. Fields of a request come before the options; fields
    that are not given are the checkpoint's own (docs/fields.md lists decoders and fields). Failed requests are kept in
    OUT.failed.jsonl with the reason, and the exit status is 1; that file is an IN to try them again.
    """
    given = given_fields(fields)
    model = checkpoint_of(loading.model, output.debug)
    quiet(output.debug)
    from rich.progress import MofNCompleteColumn

    from ..inference.batch.job import BatchJob
    from ..inference.batch.run import answer_file
    from .progress import Speed, progress_bar

    job = BatchJob(
        source=source,
        out=out,
        model=model,
        fields=given,
        dtype=loading.dtype,
        device=loading.device,
        batch_size=scheduling.batch_size,
        workers=scheduling.workers,
        cluster=scheduling.ray,
        compiled=scheduling.compiled,
    )
    with progress_bar("answering", MofNCompleteColumn(), Speed("answers")) as show:
        summary = answer_file(job, show)
    print_summary(summary, out, output.as_json)
    return 1 if summary["failed"] else 0


def print_summary(summary: "Summary", out: Path, as_json: bool = False) -> None:
    """Print a summary, and on standard error how many requests failed."""
    if summary["failed"]:
        from ..inference.batch.run import failures_of

        counts = f"{summary['failed']} of {summary['requests']} requests failed"
        print(f"{counts}; {failures_of(out)} says why, and is an IN to try them again.", file=sys.stderr)
    if as_json:
        print(json.dumps(summary))
    else:
        before = f" ({summary['done_before']} by earlier runs)" if summary["done_before"] else ""
        speed = f"{summary['answers_per_second']:.1f} per second"
        print(f"{out}: {summary['answered']} answers{before}, {speed}")
