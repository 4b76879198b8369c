"""Two recorded answers in step, forward by forward: side by side on a wide terminal, else one below the other."""

import io
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Self, cast

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text as Line
from transformers import PreTrainedTokenizerBase

from ..generation.events import Event, Forward, PlanDone
from ..generation.plan import Unit
from ..generation.tokens import SPELLING, ControlTokens
from ..inference.answer import Answer
from ..inference.replay.trace_reading import RecordedRun
from ..inference.shown_text import shown
from .drawing import Drawing
from .pacing import DEFAULT_SPEED
from .terminal import costs

SIDE_BY_SIDE = 100  # columns from which on there is room for two


@dataclass
class Racer:
    """One of the answers: its picture, its forwards with what came of each, and how it ended."""

    name: str
    drawing: Drawing
    forwards: Sequence[Sequence[Event]]
    answer: Answer

    @classmethod
    def of(cls, run: RecordedRun) -> Self:
        """Return a recorded run that is ready to race."""
        answer = run.answer()
        name = "left to right" if answer.decoding == "autoregressive" else answer.decoding.replace("_", " ")
        return cls(shown(name), drawing_of_run(run), list(by_forward(event for _, event in run.events)), answer)

    def add(self, number: int) -> None:
        """Take in what came of a forward; of none where there was none any more."""
        self.drawing.fresh.clear()
        for event in self.forwards[number] if number < len(self.forwards) else ():
            self.drawing.add(event)

    def panel(self, number: int, size: Console) -> RenderableType:
        """Return its picture after a forward."""
        is_over = number >= len(self.forwards) - 1
        body = Line(shown(self.answer.text)) if is_over else self.drawing.frame(size)
        at = f"{min(number, len(self.forwards) - 1)} of {len(self.forwards) - 1} forwards"
        state = "✓ done" if is_over else "writing"
        return Panel(body, title=f"{self.name} · {at} · {state}", title_align="left", border_style="dim")


def by_forward(events: Iterator[Event]) -> Iterator[list[Event]]:
    """Yield the events in front of the first forward, then those of each forward."""
    group: list[Event] = []
    for event in events:
        if isinstance(event, Forward):
            yield group
            group = []
        group.append(event)
    yield group


def drawing_of_run(run: RecordedRun) -> Drawing:
    """Return an empty picture for a recorded run, which is spelled by the run itself."""
    ids = {text: token for token, text in run.spellings.alone.items()}
    known = {field.removesuffix("_token_id"): ids.get(text) for field, text in SPELLING.items()}
    units = [
        promised.length / promised.number
        for _, event in run.events
        if isinstance(event, PlanDone)
        for promised in event.promises.spans
    ]
    reader = cast(PreTrainedTokenizerBase, run.spellings)  # decodes as one
    return Drawing(reader, ControlTokens.none((), **known), Unit(min(units, default=1.0)))


def race(console: Console, racers: Sequence[Racer], speed: float | None = None) -> None:
    """Show the racers until all have ended, then the counts of each; so many forwards per second.

    Args:
        speed: forwards per second; 0 for no pause between them.
    """
    is_wide = console.width >= SIDE_BY_SIDE
    columns = len(racers) if is_wide else 1
    inside = console.width // columns - 6, max(4, (console.height - 2) * columns // len(racers) - 3)
    size = Console(width=inside[0], height=inside[1], file=io.StringIO())
    wanted = DEFAULT_SPEED if speed is None else speed
    with Live(console=console, auto_refresh=False) as live:
        for number in range(max(len(racer.forwards) for racer in racers)):
            for racer in racers:
                racer.add(number)
            live.update(arranged([racer.panel(number, size) for racer in racers], is_wide), refresh=True)
            time.sleep(1 / wanted if wanted else 0.0)
    for racer in racers:
        console.print(Line(f"{racer.name}: {costs(racer.answer)}", style="dim"))


def arranged(panels: Sequence[RenderableType], is_wide: bool) -> RenderableType:
    """Return the panels side by side or one below the other."""
    if not is_wide:
        return Group(*panels)
    grid = Table.grid(expand=True)
    for _ in panels:
        grid.add_column(ratio=1)
    grid.add_row(*panels)
    return grid
