"""Prefix sharing: prompts that begin alike run their beginning once.

A token that lies in no span sees the tokens before it and nothing else, so its state depends on them alone. A request
whose first tokens are those of an earlier one (samples of one prompt, requests behind one system prompt) copies the
states of these tokens. It waits while they are about to run for the earlier request.
"""

from collections.abc import Collection, Sequence

from ..query import Query
from .chunking import leading, without_first
from .live_request import LiveRequest
from .slots import SlotTable

# Running fewer tokens again, in a forward that runs anyway, costs less than copying their states layer by layer.
WORTH_SHARING = 64


def causal_prefix(query: Query) -> list[int]:
    """Return the tokens from position 0 on whose states others may copy: in no span, without a wanted row."""
    return query.token_ids[: leading(query)] if query.positions[0] == 0 else []


def common(first: Sequence[int], second: Sequence[int]) -> int:
    """Count the tokens with which both sequences begin."""
    shorter = min(len(first), len(second))
    if first[:shorter] == second[:shorter]:  # samples of one prompt: compared without a Python loop
        return shorter
    return next(index for index, (a, b) in enumerate(zip(first, second, strict=False)) if a != b)


def should_wait_for_prefix(request: LiveRequest, live: Collection[LiveRequest]) -> bool:
    """Return whether a new request's first tokens are about to run for an earlier one."""
    donor = _donor(request, live)
    return donor is not None and not donor.has_run


def take_prefix_states(request: LiveRequest, live: Collection[LiveRequest], slots: SlotTable) -> None:
    """Copy the states of a new request's first tokens from an earlier request that has run them, if there is one."""
    donor = _donor(request, live)
    if donor is not None and donor.has_run:
        count = common(donor.prefix, request.prefix)
        slots.copy_prefix(donor.document, request.document, count)
        request.query = without_first(request.query, count)


def _donor(request: LiveRequest, live: Collection[LiveRequest]) -> LiveRequest | None:
    """Find the earlier request that shares the longest beginning worth sharing with one that has not run yet."""
    has_states = request.turn > 0 or request.query.positions[0] > 0  # it has run, or copied its beginning
    if has_states or len(request.prefix) < WORTH_SHARING:
        return None
    earlier = [other for other in live if other.document < request.document and other.prefix]
    donor = max(earlier, key=lambda other: common(other.prefix, request.prefix), default=None)
    return donor if donor is not None and common(donor.prefix, request.prefix) >= WORTH_SHARING else None
