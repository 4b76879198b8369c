"""Chunked prefill: a prompt that is wider than a forward runs in chunks, over several ticks.

Only tokens at the beginning of a query can run first: those whose states depend on earlier tokens alone (in no span)
and whose output rows are not wanted.
"""

from dataclasses import replace

from ..query import Query
from ..tokens import EVERYTHING
from ..visibility import CLEAN, NO_SPAN

PER_TOKEN = ("token_ids", "positions", "spans", "rounds", "streams")  # fields of a Query with an entry per token


def leading(query: Query) -> int:
    """Count the tokens at the beginning that may run before the rest: consecutive, in no span, without a wanted row."""
    count = 0
    streams = query.streams or [CLEAN] * len(query.token_ids)
    for position, span, stream in zip(query.positions, query.spans, streams, strict=True):
        consecutive = position == query.positions[0] + count
        if not consecutive or span != NO_SPAN or stream != CLEAN or count in query.wanted:
            break
        count += 1
    return count


def without_first(query: Query, count: int) -> Query:
    """Return the query for the tokens that are left when the first `count` have run."""
    rest = {name: getattr(query, name)[count:] for name in PER_TOKEN}
    return replace(query, wanted=[row - count for row in query.wanted], **rest)


def split_query(query: Query, limit: int) -> tuple[Query, Query | None]:
    """Cut a query into a first chunk of at most `limit` tokens, which wants no rows, and the rest.

    Returns:
        (query, None) where it is short enough, or where its first token cannot run before the others.
    """
    if len(query.token_ids) <= limit:
        return query, None
    count = min(limit, leading(query))
    if not count:
        return query, None
    first = {name: getattr(query, name)[:count] for name in PER_TOKEN}
    chunk = Query(**first, wanted=[], allowed=EVERYTHING, purpose=query.purpose, runner=query.runner)
    return chunk, without_first(query, count)
