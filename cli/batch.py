"""What `planned-diffusion batch` does with its arguments: a progress bar, the run, one line (or object) about it."""

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, Task, TextColumn, TimeRemainingColumn

from ..inference.batch.run import Job, run
from ..records.output import beside


class Speed(TextColumn):
    """Answers per second of this run."""

    def render(self, task: Task):
        task.fields["speed"] = "" if task.speed is None else f"{task.speed:.1f} answers/s"
        return super().render(task)


def batch(job: Job, as_json: bool = False) -> None:
    """Runs a job and prints what came of it.

    Raises:
        ValueError, RuntimeError: as `run.run`.
    """
    with _progress() as show:
        told = run(job, show)
    if told["failed"]:
        failures = beside(job.out, ".failed.jsonl")
        print(f"{told['failed']} of {told['requests']} requests failed; {failures} says why.", file=sys.stderr)
    if as_json:
        print(json.dumps(told))
    else:
        before = f" ({told['done_before']} were there before)" if told["done_before"] else ""
        print(f"{job.out}: {told['answered']} answers{before}, {told['answers_per_second']:.1f} per second")


@contextmanager
def _progress() -> Iterator[Callable[[int, int], None]]:
    """Yields `show(finished, total)`, which moves a progress bar where there is a terminal."""
    console = Console(stderr=True)
    columns = (TextColumn("answering"), BarColumn(), MofNCompleteColumn(), Speed("{task.fields[speed]}"))
    with Progress(*columns, TimeRemainingColumn(), console=console, disable=not console.is_terminal) as progress:
        tasks = []

        def show(finished: int, total: int) -> None:
            if not tasks:  # what was done before says nothing about speed
                tasks.append(progress.add_task("answering", total=total, completed=finished, speed=""))
            progress.update(tasks[0], completed=finished)

        yield show
