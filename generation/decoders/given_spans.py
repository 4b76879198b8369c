"""Spans into which nothing is to be written: they hold a text as it was given, or their values are complete."""

from collections.abc import Generator, Iterable
from typing import Any

from ..events import PlacedSpan, SpanClosed, Text
from .canvas import Canvas, open_blanks


def close_given(canvas: Canvas, spans: Iterable[PlacedSpan]) -> Generator[SpanClosed | Text, Any, list[PlacedSpan]]:
    """Yield the end of every span that holds a text as it was given; return the others, into which is to be written."""
    still_open = []
    for span in spans:
        if open_blanks(canvas, span):
            still_open.append(span)
        else:
            yield SpanClosed(canvas.round, span, tuple(canvas.ids[span.start : span.stop]))
    if not still_open:
        yield from canvas.prose.new_text()
    return still_open
