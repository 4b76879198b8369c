"""Which prompts are read before the requests of a lockstep draw their first token, all in one forward.

Prompts differ in length, may be wider together than a forward, and may begin alike (prefix.py): then they are read up
to their last token, over as many ticks as it takes.
"""

from collections.abc import Collection, Sequence

from .chunking import leading
from .live_request import LiveRequest


def must_read_first(asking: Sequence[LiveRequest], live: Collection[LiveRequest], widest: int) -> list[LiveRequest]:
    """Return the requests that must read their prompts before a forward of at most `widest` tokens can hold all.

    Args:
        asking: requests that may run.
        live: all of them; the others wait for the states of another's prompt.
        widest: tokens of a forward, at most.
    """
    fit = sum(len(request.query.token_ids) for request in asking) <= widest
    return [] if fit and len(asking) == len(live) else [request for request in asking if leading(request.query)]
