"""One progress bar for all commands, on standard error; it is invisible where that is no terminal."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

Show = Callable[[int, int], None]  # called with (done, total)


class Speed(ProgressColumn):
    """The speed of this run, such as 3.5 answers/s."""

    def __init__(self, noun: str) -> None:
        super().__init__()
        self.noun = noun

    def render(self, task: Task) -> Text:
        """Return the speed as text; empty while it is unknown."""
        return Text("" if task.speed is None else f"{task.speed:.1f} {self.noun}/s")


@contextmanager
def progress_bar(title: str, *columns: ProgressColumn, transient: bool = False) -> Iterator[Show]:
    """Yield `show(done, total)`, which moves the bar.

    Args:
        columns: columns between the bar and the remaining time.
        transient: the bar disappears at the end.
    """
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), *columns, TimeRemainingColumn())
    with Progress(*columns, console=console, transient=transient, disable=not console.is_terminal) as progress:
        task = None

        def show(done: int, total: int) -> None:
            nonlocal task
            if task is None:  # work of earlier runs does not count as speed
                task = progress.add_task(title, total=total, completed=done)
            progress.update(task, completed=done, total=total)

        yield show
