"""The canvas of one request, read as text: which of it is final, where it stops, and how the answer ends."""

from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any

from ..events import Ended, FinishedSpan, PlacedSpan, Text
from ..visibility import NO_SPAN

if TYPE_CHECKING:
    from .canvas import Canvas


class Prose:
    """The final text of a canvas, in reading order: plan, tags and pads left out, up to the first blank.

    Args:
        canvas: read; `ended` cuts off the tokens behind the answer's end.
        separator_ids: put between the texts of two spans (`span_separator` of the config).
        should_stop: asked with prompt and text so far after every token; where it says so the answer ends there.
        hold: keep all text back until `release`.

    Attributes:
        stopped: `should_stop` has ended the answer.
        held: text is kept back, for drafts that may change. Decoders set it around a draft.
    """

    def __init__(
        self,
        canvas: "Canvas",
        separator_ids: tuple[int, ...],
        should_stop: Callable[[list[int]], bool] | None,
        hold: bool,
    ) -> None:
        self.canvas = canvas
        self.separator_ids = separator_ids
        self.should_stop = should_stop
        self.held = hold
        self.stopped = False
        self._read = canvas.prompt_length  # positions before it have been read
        self._answer: list[int] = []

    @property
    def end(self) -> int | None:
        """Position where an answer without tags ends as it stands: its first EOS or `[PAD]`."""
        canvas = self.canvas
        ends = {canvas.control.span_pad, *canvas.control.eos}
        return next((position for position in canvas.untagged if canvas.ids[position] in ends), None)

    @property
    def is_complete(self) -> bool:
        """Whether everything up to the end of an answer without tags is written."""
        blanks, end = self.canvas.blanks, self.end
        return not blanks or (end is not None and min(blanks) > end)

    @property
    def outcome(self) -> str:
        """Reason why an answer without tags ended, or would: "stop", "eos" or "length"."""
        return "stop" if self.stopped else "length" if self.end is None else "eos"

    def new_text(self) -> Generator[Text, Any, None]:
        """Yield the text that became final since the last call as one event, if there is any."""
        text = self.read_on()
        if text:
            yield Text(text)

    def read_on(self) -> tuple[int, ...]:
        """Return the token ids that became final text since the last call."""
        text: list[int] = []
        end = self.end
        stop = self._read if self.held else len(self.canvas.ids) if end is None else end
        while self._read < stop and self._read not in self.canvas.blanks and not self.stopped:
            more = self._text_at(self._read)
            self._read += 1
            text += more
            self._answer += more
            if more:
                self._ask_to_stop()
        if not text:
            self._ask_to_stop()  # time may be up
        return tuple(text)

    def unread(self, length: int) -> None:
        """Go back to a position behind which nothing is text: what stood there is taken back."""
        self._read = min(self._read, length)

    def release(self) -> Generator[Text, Any, None]:
        """Yield the text that was held back; where the answer was stopped meanwhile, all that was written."""
        was_stopped, self.held, self.stopped = self.stopped, False, False
        if was_stopped:
            self.should_stop = None
        yield from self.new_text()
        self.stopped = self.stopped or was_stopped

    def ended(self, reason: str) -> Ended:
        """Return the finished answer, as prose and as written, up to the first blank.

        Promises that stand in spans again are left out of both.
        """
        canvas = self.canvas
        if reason == "eos" and self.end is not None:
            self._cut(self.end)
        stop = self._read if self.stopped else min(canvas.blanks, default=len(canvas.ids))
        prose: list[int] = []
        offsets = [0] * (stop + 1)  # prose in front of each position
        for position in range(canvas.prompt_length, stop):
            offsets[position] = len(prose)
            prose += self._text_at(position)
        offsets[stop] = len(prose)
        if reason == "eos":
            prose.append(canvas.ids[-1])

        def in_prose(span: PlacedSpan) -> FinishedSpan:
            start, end = offsets[min(span.start, stop)], offsets[min(span.stop, stop)]
            return FinishedSpan(span.topic_ids, len(span.positions), start, end)

        written = [place for place in range(canvas.prompt_length, stop) if place not in canvas.repeated]

        def as_written(span: PlacedSpan) -> FinishedSpan:
            start, finished = sum(place < span.start for place in written), in_prose(span)
            return FinishedSpan(span.topic_ids, finished.length, start, start + finished.stop - finished.start)

        return Ended(
            reason=reason,
            answer_ids=tuple(prose),
            written_ids=tuple(map(canvas.ids.__getitem__, written)),
            plans=tuple(tuple(map(in_prose, spans)) for spans in canvas.placed),
            written_plans=tuple(tuple(map(as_written, spans)) for spans in canvas.placed),
        )

    def _ask_to_stop(self) -> None:
        if self.should_stop is not None:
            self.stopped = self.should_stop([*self.canvas.ids[: self.canvas.prompt_length], *self._answer])

    def _text_at(self, position: int) -> tuple[int, ...]:
        """Return the text of one position: its token, a separator where a span starts, or nothing."""
        canvas, control = self.canvas, self.canvas.control
        token = canvas.ids[position]
        if position in canvas.text_outside:
            return () if token in control.eos else (token,)
        if canvas.spans[position] == NO_SPAN or position in canvas.repeated:
            return ()
        if position in canvas.openings:
            return self.separator_ids if position != canvas.openings[0] else ()
        return () if token in control.all else (token,)

    def _cut(self, end: int) -> None:
        """Drop the tokens behind the end of an answer without tags; one that ended in `[PAD]` ends in EOS."""
        canvas = self.canvas
        eos = canvas.control.eos
        canvas.ids[end:] = [canvas.ids[end] if canvas.ids[end] in eos else eos[0]]
        canvas.blanks = {position for position in canvas.blanks if position < end}
