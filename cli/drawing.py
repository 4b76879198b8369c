"""Draw the state of one answer: a round's plan as it grows, its spans as they fill, or text from left to right.

A round whose first span is complete:

    ╭─ round 1 ─────────────────────────────────────────────────────────────────────╮
    │    topic      tokens  text                                                    │
    │ ✓  capital        16  The capital of Kenya is Nairobi.                        │
    │ ○  currency       16  The currency of ░░ ░░ is the Kenyan ░░ ░░ ░░            │
    ╰───────────────────────────────────────────────────────────────────────────────╯
"""

import re
from collections.abc import Iterable, Sequence
from itertools import groupby

from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.panel import Panel
from rich.table import Table
from rich.text import Text as Line
from transformers import PreTrainedTokenizerBase

from ..generation.events import BlanksPlaced, Event, PlacedSpan, PlanDone, PlanToken, SpanClosed, TokensWritten
from ..generation.live_state import LiveState
from ..generation.plan import Unit
from ..generation.tokens import ControlTokens
from ..inference.answer import read
from ..inference.shown_text import shown

BLANK, PAD, CURSOR = " ░░", "·", "▌"  # lines break between blanks, as they will between words
STYLES = {"blank": "dim", "pad": "dim", "fresh": "bold black on green", "written": ""}
STEP_STYLES = ("cyan", "green", "magenta", "blue")  # of words written in the same step, in turn; legible on any ground
STACKED = 72  # columns below which the text of a part stands under its topic

Row = tuple[RenderableType, RenderableType, RenderableType, RenderableType]  # mark, topic, tokens, text


class Drawing:
    """The events of one answer, folded into a picture.

    Args:
        tokenizer: reads topics and texts.
        control: the checkpoint's control tokens; None for a checkpoint without.
        unit: tokens per promised number.
        colours_steps: show by colours which words were written in the same step.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        control: ControlTokens | None,
        unit: Unit,
        colours_steps: bool = False,
    ) -> None:
        self.tokenizer, self.control, self.unit, self.colours_steps = tokenizer, control, unit, colours_steps
        self.state = LiveState()
        self.steps = 0  # of writing
        self.step_at: dict[int, int] = {}  # the step in which a position was written
        self.round_index = 0
        self.closed: set[int] = set()  # indices of the round's spans that are complete
        self.fresh: set[int] = set()  # positions written since they were cleared; they are highlighted

    def add(self, event: Event) -> None:
        """Take an event in."""
        self.state.add(event)
        if isinstance(event, (PlanToken, PlanDone, BlanksPlaced)):
            self.round_index = event.round
        if isinstance(event, (PlanDone, BlanksPlaced)):
            self.closed.clear()
        elif isinstance(event, TokensWritten):
            self.fresh.update(event.positions)
            self.steps += 1
            self.step_at |= dict.fromkeys(event.positions, self.steps)
        elif isinstance(event, SpanClosed):
            self.closed.add(event.span.index)

    def frame(self, console: Console) -> RenderableType:
        """Return the picture: the round's plan or spans, or text that is written left to right."""
        if self.state.spans:
            return self._panel("", [self.span_row(span) for span in self.state.spans], console)
        if self.state.plan_ids:
            return self._panel(", planning", self._promise_rows(), console)
        return self._plain(console)

    def _panel(self, activity: str, rows: Iterable[Row], console: Console) -> Panel:
        body = self._stack(rows) if console.width < STACKED else self._table(rows)
        return Panel(body, title=f"round {self.round_index + 1}{activity}", title_align="left", border_style="dim")

    def _stack(self, rows: Iterable[Row]) -> Group:
        """Return the rows with each text below its topic."""
        lines: list[RenderableType] = []
        for mark, topic, tokens, text in rows:
            head = Table.grid(padding=(0, 1))
            head.add_column()
            head.add_column(style="bold cyan")
            head.add_row(mark, topic, Line(str(tokens), style="dim"))
            lines += [head, Padding(text, (0, 0, 0, 2))] if text else [head]
        return Group(*lines)

    def _table(self, rows: Iterable[Row]) -> Table:
        table = Table(box=None, expand=True, header_style="dim", padding=(0, 1))
        table.add_column("", no_wrap=True, width=1)
        table.add_column("topic", style="bold cyan", max_width=28)
        table.add_column("tokens", justify="right", style="dim", no_wrap=True)
        table.add_column("text", ratio=1, overflow="fold")
        for row in rows:
            table.add_row(*row)
        return table

    def _promise_rows(self) -> list[Row]:
        """Return a row per promise as far as it is drawn; a closed promise shows its room."""
        assert self.control is not None  # plans are written with control tokens
        promises: list[list[int]] = []
        for token in self.state.plan_ids:
            if token == self.control.promise_start:
                promises.append([])
            elif promises:
                promises[-1].append(token)
        rows: list[Row] = []
        for token_ids in promises:
            inside = self._read(token_ids).strip()
            promised = re.fullmatch(r"(.*?)\s*(\d+)", inside, re.DOTALL)
            if token_ids and token_ids[-1] == self.control.topic_end and promised:
                rows.append(("·", Line(promised[1]), str(self.unit.length(int(promised[2]))), ""))
            else:
                rows.append(("·", Line(inside + CURSOR), "", ""))
        return rows

    def span_row(self, span: PlacedSpan) -> tuple[Line, Line, str, Line]:
        """Return the row of a span."""
        is_closed = span.index in self.closed
        text = Line(overflow="fold")
        for look, group in groupby(span.positions, key=self._look):
            positions = list(group)
            piece = self._shown(look, positions, is_closed)
            text.append(piece if text else piece.lstrip(), STYLES.get(look, look))
        if is_closed:
            text.rstrip()
        mark = Line("✓", style="green") if is_closed else Line("○", style="dim")
        return mark, Line(self._read(span.topic_ids).strip()), str(len(span.positions)), text

    def _look(self, position: int) -> str:
        """Return how a position of a span looks: a key of STYLES, or a style."""
        if position not in self.state.tokens:
            return "blank"
        if self.control is not None and self.state.tokens[position] == self.control.span_pad:
            return "pad"
        if position in self.fresh:
            return "fresh"
        return STEP_STYLES[self.step_at.get(position, 0) % len(STEP_STYLES)] if self.colours_steps else "written"

    def _shown(self, look: str, positions: Sequence[int], is_closed: bool) -> str:
        """Return the characters for neighbouring positions that look alike."""
        if look == "blank":
            return BLANK * len(positions)
        if look == "pad":
            return "" if is_closed else PAD * len(positions)
        return self._read(self.state.tokens[position] for position in positions)

    def _plain(self, console: Console) -> Line:
        """Return text that is written left to right, as much of its end as fits, the newest token highlighted."""
        before, whole = self._read(self.state.text_ids[:-1]), self._read(self.state.text_ids)
        text = Line(before) + Line(whole[len(before) :], style=STYLES["fresh"])
        lines = text.wrap(console, console.width)
        return Line("\n").join(lines[1 - console.height :])

    def _read(self, token_ids: Iterable[int]) -> str:
        return shown(read(self.tokenizer, token_ids))
