"""Prompts that begin alike are run once: samples of one prompt, and requests behind one system prompt.

A token that lies in no span sees what comes before it and nothing else, so its state depends on the tokens up to it
alone. A request whose first tokens are those of another one may therefore take over their states.
"""

from collections.abc import Sequence
from dataclasses import replace

from .generation_query import Query
from .generation_visibility import CLEAN, NO_SPAN

# Fewer tokens are run again: in a forward that runs anyway they cost less than copying their states, layer by layer.
WORTH_SHARING = 64


def causal_prefix(query: Query) -> list[int]:
    """The tokens from position 0 on that lie in no span and whose output is not wanted."""
    count = 0
    streams = query.streams or [CLEAN] * len(query.token_ids)
    rows = zip(query.positions, query.spans, streams, strict=True)
    for position, span, stream in rows:
        if position != count or span != NO_SPAN or stream != CLEAN or count in query.wanted:
            break
        count += 1
    return query.token_ids[:count]


def common(first: Sequence[int], second: Sequence[int]) -> int:
    """How many tokens two sequences begin with alike."""
    pairs = zip(first, second, strict=False)
    return next((index for index, (a, b) in enumerate(pairs) if a != b), min(len(first), len(second)))


def without_first(query: Query, count: int) -> Query:
    """The query for what is left when its first `count` tokens need not run."""
    lists = ("token_ids", "positions", "spans", "rounds", "streams")
    rest = {name: getattr(query, name)[count:] for name in lists}
    return replace(query, wanted=[row - count for row in query.wanted], **rest)
