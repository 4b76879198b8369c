"""How an answer appears while it is written: a live view on a terminal, plain text on a pipe.

The live view shows one round at a time, first its promises as they are drawn, then its spans as they fill:

    ╭─ round 1 ─────────────────────────────────────────────────────────────────────╮
    │    topic      tokens  text                                                    │
    │ ✓  capital        16  The capital of Kenya is Nairobi.                        │
    │ ○  currency       16  The currency of ░░░░ is the Kenyan ░░░░░░               │
    ╰───────────────────────────────────────────────────────────────────────────────╯

A finished round stays above, at full height even where the screen had room for its top only; at the end follow the text
as prose and a line of counts.
"""

import os
import re
import sys
import time
from itertools import groupby

from rich.console import Console
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text as Line

from ..generation.events import (
    BlanksPlaced,
    Ended,
    PlacedSpan,
    PlanDone,
    PlanToken,
    RoundClosed,
    SpanClosed,
    Text,
    TokensWritten,
)
from ..generation.live_state import Board
from ..generation.plan import Unit
from ..generation.tokens import ControlTokens
from ..inference.answer import Answer, Checkpoint, Prose, read

BLANK, PAD, CURSOR = "░░", "·", "▌"
STYLES = {"blank": "dim", "pad": "dim", "fresh": "bold black on green", "written": ""}
# What a terminal would obey instead of showing: C0 and C1 controls but for tab and newline.
CONTROLS = dict.fromkeys([*range(9), *range(11, 32), *range(127, 160)], "\N{REPLACEMENT CHARACTER}")


class PipeView:
    """Prints text as it becomes final; with `as_written` plan, tags and text at the end."""

    def __init__(self, tokenizer, as_written: bool = False):
        self.prose, self.as_written = Prose(tokenizer), as_written

    def __enter__(self):
        return self

    def __exit__(self, *error):
        return None

    def add(self, index: int, event) -> None:
        if isinstance(event, Text) and not self.as_written:
            print(self.prose.add(event.token_ids), end="", flush=True)

    def finish(self, answer: Answer) -> None:
        print(answer.text[len(self.prose.text) :], flush=True)


class LiveView:
    """Follows the events of one answer on a terminal; a context manager.

    Args:
        console: where to draw.
        tokenizer: reads topics and texts.
        control: the checkpoint's control tokens; None for a checkpoint without.
        unit: tokens per promised number.
        seconds_per_frame: least time between two frames.
    """

    def __init__(
        self, console: Console, tokenizer, control: ControlTokens | None, unit: Unit, seconds_per_frame: float = 0.05
    ):
        self.console, self.tokenizer, self.control, self.unit = console, tokenizer, control, unit
        self.seconds_per_frame = seconds_per_frame
        self.board = Board()
        self.round = 0
        self.closed: set[int] = set()  # indices of the round's spans that are complete
        self.fresh: set[int] = set()  # positions written since the last frame
        self._drawn_at = -float("inf")
        self._live = Live(console=console, auto_refresh=False, transient=True)

    def __enter__(self):
        self._live.start()
        self._draw(Line("reading the prompt", style="dim"))
        return self

    def __exit__(self, *error):
        self._live.stop()

    def add(self, index: int, event) -> None:
        if isinstance(event, RoundClosed) or (isinstance(event, Ended) and self.board.spans):
            self.fresh.clear()
            self._live.update(Line())
            self._live.console.print(self.frame())  # the round stays above
        self.board.add(event)
        if isinstance(event, (PlanToken, PlanDone, BlanksPlaced)):
            self.round = event.round
        if isinstance(event, (PlanDone, BlanksPlaced)):
            self.closed.clear()
        elif isinstance(event, TokensWritten):
            self.fresh.update(event.positions)
        elif isinstance(event, SpanClosed):
            self.closed.add(event.span.index)
        is_layout, is_token = isinstance(event, (PlanDone, BlanksPlaced)), isinstance(event, (PlanToken, TokensWritten))
        if is_layout or (is_token and self._is_due()):
            self._draw(self.frame())

    def finish(self, answer: Answer) -> None:
        """Ends the view: the text as prose and a line of counts."""
        self._live.stop()
        self.console.print(Line(answer.text.translate(CONTROLS)))
        self.console.print(Line(counts_line(answer), style="dim"))

    def _is_due(self) -> bool:
        return time.monotonic() - self._drawn_at >= self.seconds_per_frame

    def _draw(self, frame) -> None:
        self._live.update(frame, refresh=True)
        self._drawn_at = time.monotonic()
        self.fresh.clear()

    def frame(self):
        """What there is to see now: the round's plan or spans, or text that is written left to right."""
        if self.board.spans:
            return self._panel("", [self._span_row(span) for span in self.board.spans])
        if self.board.plan_ids:
            return self._panel(", planning", self._promise_rows())
        return self._plain()

    def _panel(self, doing: str, rows: list[tuple]) -> Panel:
        table = Table(box=None, expand=True, header_style="dim", padding=(0, 1))
        table.add_column("", no_wrap=True, width=1)
        table.add_column("topic", style="bold cyan", max_width=28)
        table.add_column("tokens", justify="right", style="dim", no_wrap=True)
        table.add_column("text", ratio=1, overflow="fold")
        for row in rows:
            table.add_row(*row)
        return Panel(table, title=f"round {self.round + 1}{doing}", title_align="left", border_style="dim")

    def _promise_rows(self) -> list[tuple]:
        """A row per promise as far as it is drawn; a closed one with the room that it promises."""
        promises: list[list[int]] = []
        for token in self.board.plan_ids:
            if token == self.control.promise_start:
                promises.append([])
            elif promises:
                promises[-1].append(token)
        rows = []
        for token_ids in promises:
            inside = self._read(token_ids).strip()
            promised = re.fullmatch(r"(.*?)\s*(\d+)", inside, re.DOTALL)
            if token_ids and token_ids[-1] == self.control.topic_end and promised:
                rows.append(("·", Line(promised[1]), str(self.unit.length(int(promised[2]))), ""))
            else:
                rows.append(("·", Line(inside + CURSOR), "", ""))
        return rows

    def _span_row(self, span: PlacedSpan) -> tuple:
        is_closed = span.index in self.closed
        text = Line(overflow="fold")
        for state, group in groupby(span.positions, key=self._state):
            positions = list(group)
            if state == "blank":
                shown = BLANK * len(positions)
            elif state == "pad":
                shown = "" if is_closed else PAD * len(positions)
            else:
                shown = self._read(self.board.tokens[position] for position in positions)
            text.append(shown.lstrip() if positions[0] == span.start else shown, STYLES[state])
        mark = Line("✓", style="green") if is_closed else Line("○", style="dim")
        return mark, Line(self._read(span.topic_ids).strip()), str(len(span.positions)), text

    def _state(self, position: int) -> str:
        """How a position of a span looks: a key of STYLES."""
        if position not in self.board.tokens:
            return "blank"
        if self.board.tokens[position] == self.control.span_pad:
            return "pad"
        return "fresh" if position in self.fresh else "written"

    def _plain(self) -> Line:
        """Text that is written left to right, the newest token highlighted."""
        before, whole = self._read(self.board.text_ids[:-1]), self._read(self.board.text_ids)
        text = Line(before) + Line(whole[len(before) :], style=STYLES["fresh"])
        lines = text.wrap(self.console, self.console.width)
        return Line("\n").join(lines[1 - self.console.height :])  # what the screen has room for

    def _read(self, token_ids) -> str:
        return read(self.tokenizer, token_ids).translate(CONTROLS)


def counts_line(answer: Answer) -> str:
    """What the answer cost, in one line."""
    trace = answer.trace
    return (
        f"{trace.forwards} forwards, critical path {trace.critical_path}, {trace.tokens} tokens, "
        f"{trace.seconds:.2f} seconds, {trace.tokens / max(trace.forwards, 1):.1f} tokens per forward"
        + ("" if answer.ended == "eos" else f"; ended by {answer.ended}")
    )


def view_of(checkpoint: Checkpoint, fields: dict) -> LiveView | PipeView:
    """The live view where standard output is a terminal that can redraw itself, plain text elsewhere."""
    if not sys.stdout.isatty() or os.environ.get("TERM") in ("dumb", "unknown"):
        return PipeView(checkpoint.tokenizer, as_written=checkpoint.field("keep_plan", fields))
    config = checkpoint.model.config
    control = None if config.mask_token_id is None else ControlTokens.from_config(config)
    return LiveView(Console(), checkpoint.tokenizer, control, checkpoint.unit(fields))
