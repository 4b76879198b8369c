"""Texts at which an answer ends: found in the answer alone, as soon as they are written, and removed from it.

`stop_strings` of `generate` does the same with tables over the vocabulary, which take seconds to make for every new
text; a server is sent new ones all the time. The prompt is not searched.
"""

from collections.abc import Callable, Iterable, Sequence

from transformers import PreTrainedTokenizerBase

from ..answer import Prose


def cut(text: str, stops: Iterable[str], start: int = 0) -> int | None:
    """Return where the first of several texts begins, searched from a character on; None where there is none."""
    found = [place for place in (text.find(stop, start) for stop in stops) if place >= 0]
    return min(found, default=None)


def settled(text: str, stops: Iterable[str]) -> int:
    """Return the length of a text without an end that may become one of several texts."""
    longest = max((_overlap(text, stop) for stop in stops), default=0)
    return len(text) - longest


def _overlap(text: str, stop: str) -> int:
    """Return the longest beginning of `stop`, not all of it, with which a text ends."""
    return next((size for size in range(min(len(stop) - 1, len(text)), 0, -1) if text.endswith(stop[:size])), 0)


class SettledText:
    """A text that grows, as a client gets it: it ends where a text to stop at begins.

    Args:
        stops: the texts to stop at.

    Attributes:
        text: as far as it is settled; an end that may become a text to stop at is held back.
        taken: characters that were taken.
        is_stopped: one of the texts stood in it.
    """

    def __init__(self, stops: Sequence[str] = ()) -> None:
        self.stops = stops
        self.text, self.taken, self.is_stopped = "", 0, False

    @property
    def has_news(self) -> bool:
        """Whether some of it waits to be taken."""
        return self.taken < len(self.text)

    def add(self, text: str, final: bool) -> None:
        """Take in the text so far, all of it; `final` if no more will come."""
        if self.is_stopped:
            return
        place = cut(text, self.stops, len(self.text)) if self.stops else None
        self.is_stopped = place is not None
        self.text = text[: len(text) if final else settled(text, self.stops)] if place is None else text[:place]

    def take(self) -> str:
        """Return the text that has settled since the last call."""
        new = self.text[self.taken :]
        self.taken = len(self.text)
        return new


class StopTexts:
    """A criterion for one request: it says that the answer is over once one of the texts stands in it.

    Args:
        tokenizer: read from the engine's thread; no other thread may encode with it.
        prompt_length: tokens of the prompt.
        stops: the texts.
        other: a further criterion, asked first.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        prompt_length: int,
        stops: Sequence[str],
        other: Callable[[list[int]], bool] | None = None,
    ) -> None:
        self.stops, self.other = stops, other
        self._prose, self._read = Prose(tokenizer), prompt_length
        self._longest = max(map(len, stops))

    def __call__(self, ids: list[int]) -> bool:
        """Tell whether the answer ends; `ids` are prompt and answer so far."""
        if self.other is not None and self.other(ids):
            return True
        known = len(self._prose.text)
        self._prose.add(ids[self._read :])
        self._read = len(ids)
        return cut(self._prose.text, self.stops, max(0, known - self._longest)) is not None
