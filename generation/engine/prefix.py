"""The beginning of a prompt: run once for all prompts that begin alike, and in parts where it is long.

A token that lies in no span sees what comes before it and nothing else, so its state depends on the tokens up to it
alone. A request whose first tokens are those of another one (samples of one prompt, requests behind one system prompt)
may therefore take over their states; and they may run before the rest of their query.
"""

from collections.abc import Sequence
from dataclasses import replace

from ..query import Query
from ..tokens import EVERYTHING
from ..visibility import CLEAN, NO_SPAN

# Fewer tokens are run again: in a forward that runs anyway they cost less than copying their states, layer by layer.
WORTH_SHARING = 64


def causal_prefix(query: Query) -> list[int]:
    """The tokens from position 0 on that lie in no span and whose output is not wanted."""
    return query.token_ids[: _leading(query)] if query.positions[0] == 0 else []


def _leading(query: Query) -> int:
    """How many tokens stand side by side at the beginning, in no span, without a wanted row."""
    count = 0
    streams = query.streams or [CLEAN] * len(query.token_ids)
    rows = zip(query.positions, query.spans, streams, strict=True)
    for position, span, stream in rows:
        side_by_side = position == query.positions[0] + count
        if not side_by_side or span != NO_SPAN or stream != CLEAN or count in query.wanted:
            break
        count += 1
    return count


def common(first: Sequence[int], second: Sequence[int]) -> int:
    """How many tokens two sequences begin with alike."""
    pairs = zip(first, second, strict=False)
    return next((index for index, (a, b) in enumerate(pairs) if a != b), min(len(first), len(second)))


def without_first(query: Query, count: int) -> Query:
    """The query for what is left when its first `count` tokens need not run."""
    lists = ("token_ids", "positions", "spans", "rounds", "streams")
    rest = {name: getattr(query, name)[count:] for name in lists}
    return replace(query, wanted=[row - count for row in query.wanted], **rest)


def in_two(query: Query, most: int) -> tuple[Query, Query | None]:
    """A query of at most `most` tokens to run first, and the rest; (query, None) where it is short or cannot be parted.

    The first part wants no rows.
    """
    if len(query.token_ids) <= most:
        return query, None
    count = min(most, _leading(query))
    if not count:
        return query, None
    lists = ("token_ids", "positions", "spans", "rounds", "streams")
    first = {name: getattr(query, name)[:count] for name in lists}
    first_part = Query(**first, wanted=[], allowed=EVERYTHING, purpose=query.purpose, runner=query.runner)
    return first_part, without_first(query, count)
