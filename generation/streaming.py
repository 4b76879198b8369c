"""Streamers of transformers as listeners to the events of one answer."""

from typing import Any

import torch

from .events import Event, Text, TokensWritten
from .live_state import LiveState


class StreamerListener:
    """Hands final text to a streamer's `put`, and drafts to its `put_draft` where it has one.

    Args:
        streamer: as transformers' `BaseStreamer`: `put(int64 tensor)` and `end()`.
        blank: id that stands for an open position of a draft.
    """

    def __init__(self, streamer: Any, blank: int) -> None:
        self.streamer, self.blank = streamer, blank
        self._state = LiveState()

    def __call__(self, index: int, event: Event) -> None:
        """Take one event of the answer."""
        self._state.add(event)
        if isinstance(event, Text):
            self.streamer.put(torch.tensor(event.token_ids))
        elif isinstance(event, TokensWritten) and self._state.spans and hasattr(self.streamer, "put_draft"):
            self.streamer.put_draft(torch.tensor(self._state.draft(self.blank)))


def check_followers(streamer: Any, listener: Any, answers: int) -> None:
    """Check what follows the answers while they are written.

    Raises:
        ValueError: no streamer, no function, or several answers for one streamer.
    """
    if listener is not None and not callable(listener):
        raise ValueError(f"listener is {listener!r}; give a function of (index of the answer, event).")
    if streamer is None:
        return
    lacking = [name for name in ("put", "end") if not callable(getattr(streamer, name, None))]
    if lacking:
        raise ValueError(f"streamer is {streamer!r}, which has no {lacking[0]}(); give a streamer of transformers.")
    if answers > 1:
        raise ValueError(f"A streamer follows one answer, but {answers} were asked for; stream them one at a time.")
