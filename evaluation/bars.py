"""How an evaluation tells how far it is: it is given a function that opens a progress bar, or shows nothing."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

Show = Callable[[int, int], None]  # called with (done, total)
Bar = Callable[[str], AbstractContextManager[Show]]  # takes a title


@contextmanager
def no_bar(title: str) -> Iterator[Show]:
    """Show nothing."""
    yield lambda done, total: None
