"""An answer as the page follows it: that of the server, with its frames, its counts and its trace."""

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from ..generation.events import Event
from ..generation.query import Request
from ..generation.trace import Felt, Trace, TraceRecorder
from ..inference.answer import Answer, Fields, Prompt
from ..inference.form import Form
from ..inference.recording import Recording
from ..inference.server.served_models import ServedModel
from ..inference.server.written_answer import WrittenAnswer
from .page_frames import Frames


class PageAnswer(WrittenAnswer):
    """An answer that is being written, with all that a page shows of it.

    Args:
        model: its model.
        request: as the engine has it.
        form: the answer is the object that fills it, as JSON.

    Attributes:
        frames: the frames so far.
        trace: its counts; None until it has ended.
    """

    def __init__(self, model: ServedModel, request: Request, form: Form | None = None) -> None:
        super().__init__(model, request, form=form)
        self.frames = Frames(model.reader, request)
        self.trace: Trace | None = None
        self._counts, self._felt = TraceRecorder(), Felt()
        self._started = time.monotonic()
        self._seen = 0
        self._events: list[tuple[float, Event]] = []  # each with its seconds

    @property
    def has_news(self) -> bool:
        """Whether there are frames that nobody has taken."""
        return self._seen < len(self.frames.texts)

    def take_frames(self) -> list[str]:
        """Return all frames so far."""
        self._seen = len(self.frames.texts)
        return list(self.frames.texts)

    def add(self, events: Sequence[Event], at: float) -> None:
        """Take in the events of a forward, which ended at a time of `time.monotonic`."""
        super().add(events, at)
        seconds = max(0.0, at - self._started)
        for event in events:
            self._counts.add(event)
            self._felt.add(event, seconds)
            self._events.append((seconds, event))
        self.frames.add(events, seconds)
        if self.ended is not None and self.trace is None:
            self.trace = replace(self._counts.trace(), seconds=seconds, felt=self._felt)
            self.frames.end(self.ended, self.text, self.trace, seconds)

    def document(self, prompt: Prompt, fields: Fields) -> dict[str, Any]:
        """Return the trace file of the finished answer; see inference/recording.py."""
        assert self.ended is not None and self.trace is not None  # it has ended
        recording = Recording(self.model.reader)
        for seconds, event in self._events:
            recording.add(0, event)
            recording.events[-1]["at_seconds"] = round(seconds, 6)
        answer = Answer.of(self.model.checkpoint, prompt, self.request, self.ended, self.trace)
        return recording.document(answer, fields) | {"model": self.model.name}  # no path of this machine
