"""Show an answer while it is written: a live view on a terminal, plain text on a pipe.

The live view shows one round at a time (drawing.py). A finished round stays above, at full height even if the screen
showed only its top; the text as prose and a line of counts follow at the end.
"""

import sys
import time
from itertools import zip_longest
from typing import Self

from rich.console import Console, RenderableType
from rich.live import Live
from rich.text import Text as Line
from transformers import PreTrainedTokenizerBase

from ..generation.events import BlanksPlaced, Ended, Event, PlanDone, PlanToken, RoundClosed, Text, TokensWritten
from ..inference.answer import Answer, Prose
from ..inference.shown_text import shown, whole
from .drawing import Drawing


def printable(text: str) -> str:
    """Return a text for standard output: a pipe gets it as it is, a terminal that cannot redraw nothing to obey."""
    return shown(text) if sys.stdout.isatty() else whole(text)


class PipeView:
    """Text that is printed as it becomes final; with `as_written`, plan, tags and text at the end."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, as_written: bool = False) -> None:
        self.prose, self.as_written = Prose(tokenizer), as_written

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        return None

    def add(self, index: int, event: Event) -> None:
        """Print the text that an event completes."""
        if isinstance(event, Text) and not self.as_written:
            print(printable(self.prose.add(event.token_ids)), end="", flush=True)

    def finish(self, answer: Answer) -> None:
        """Print the rest of the answer."""
        print(printable(answer.text[len(self.prose.text) :]), flush=True)


class LiveView:
    """A picture on a terminal that follows the events of one answer; a context manager.

    Args:
        console: where to draw.
        drawing: makes the pictures.
        seconds_per_frame: least time between two frames.
    """

    def __init__(self, console: Console, drawing: Drawing, seconds_per_frame: float = 0.05) -> None:
        self.console, self.drawing, self.seconds_per_frame = console, drawing, seconds_per_frame
        self._drawn_at = -float("inf")
        self._live = Live(console=console, auto_refresh=False, transient=True)

    def __enter__(self) -> Self:
        self._live.start()
        self.draw(Line("reading the prompt", style="dim"))
        return self

    def __exit__(self, *error: object) -> None:
        self._live.stop()

    def add(self, index: int, event: Event) -> None:
        """Take an event in and draw a frame if it is time for one."""
        drawing = self.drawing
        if isinstance(event, RoundClosed) or (isinstance(event, Ended) and drawing.state.spans):
            drawing.fresh.clear()
            self._live.update(Line())
            self._live.console.print(drawing.frame(self.console))  # the round stays above
        drawing.add(event)
        is_layout, is_token = isinstance(event, (PlanDone, BlanksPlaced)), isinstance(event, (PlanToken, TokensWritten))
        if is_layout or (is_token and time.monotonic() - self._drawn_at >= self.seconds_per_frame):
            self.draw(drawing.frame(self.console))

    def draw(self, frame: RenderableType) -> None:
        """Show a frame; tokens written later are highlighted in the next one."""
        self._live.update(frame, refresh=True)
        self._drawn_at = time.monotonic()
        self.drawing.fresh.clear()

    def finish(self, answer: Answer) -> None:
        """End the view with the text as prose and a line of counts."""
        self._live.stop()
        self.console.print(Line(shown(answer.text)))
        self.console.print(Line(costs(answer), style="dim"))


def costs(answer: Answer) -> str:
    """Return what an answer took: its counts, and below them when its words came."""
    return "\n".join(filter(None, (counts_line(answer), drafts_line(answer), felt_line(answer))))


def counts_line(answer: Answer) -> str:
    """Return the cost of an answer in one line."""
    trace = answer.trace
    return (
        f"{trace.forwards} forwards, {trace.tokens} tokens, "
        f"{trace.seconds:.2f} seconds, {trace.tokens / max(trace.forwards, 1):.1f} tokens per forward"
        + ("" if answer.ended == "eos" else f"; ended by {answer.ended}")
    )


def drafts_line(answer: Answer) -> str:
    """Return in one line how many guesses were right, by how far ahead they were; nothing where none were checked."""
    pairs = zip_longest(answer.trace.drafts_accepted, answer.trace.drafts_checked, fillvalue=0)
    told = ", ".join(f"{right} of {checked}" for right, checked in pairs)
    return f"guesses right, the next token first: {told}" if told else ""


def felt_line(answer: Answer) -> str:
    """Return in one line when the first and the last words of an answer came; nothing where that is not known."""
    felt = answer.trace.felt
    words = {
        "first outline word": felt.first_outline_word,
        "first final word": felt.first_final_word,
        "last word": felt.last_word,
    }
    told = [f"{name} after {seconds:.2f}" for name, seconds in words.items() if seconds is not None]
    return f"{', '.join(told)} seconds" if told else ""
