"""Choose how an answer is shown: drawn while it is written on a terminal, as plain text elsewhere."""

import os
import sys

from rich.console import Console

from ..generation.tokens import ControlTokens
from ..inference.answer import Checkpoint, Fields
from .drawing import Drawing
from .pacing import PacedView, paced
from .terminal import LiveView, PipeView


def view_of(
    checkpoint: Checkpoint, fields: Fields, speed: float | None = None, colours_steps: bool = False
) -> LiveView | PacedView | PipeView:
    """Return a live view where standard output is a terminal that can redraw itself, plain text elsewhere.

    Args:
        speed: forwards per second that the live view shows, at most; see `paced`.
        colours_steps: show by colours which words were written in the same step.
    """
    if not can_redraw():
        return PipeView(checkpoint.tokenizer, as_written=bool(checkpoint.field("keep_plan", fields)))
    return paced(LiveView(Console(), drawing_of(checkpoint, fields, colours_steps)), speed)


def drawing_of(checkpoint: Checkpoint, fields: Fields, colours_steps: bool = False) -> Drawing:
    """Return an empty picture for an answer of this checkpoint."""
    config = checkpoint.model.config
    control = None if config.mask_token_id is None else ControlTokens.from_config(config)
    return Drawing(checkpoint.tokenizer, control, checkpoint.unit(fields), colours_steps)


def can_redraw() -> bool:
    """Tell whether standard output is a terminal that can redraw what it shows."""
    return sys.stdout.isatty() and os.environ.get("TERM") not in ("dumb", "unknown")
