"""NaN among the logits of a forward: an error where the model says it, and no more than a guess lost in drafts.

Drafts whose states are NaN, as of a broken adapter, are seen by nobody and yet spoil their forward: what is invisible
is multiplied by zero, and zero times NaN is NaN. Such a forward runs again without its drafts. Logits that are NaN in
rows of drafts alone make useless guesses, which harm nobody.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace

import torch

from ..events import Forward
from ..query import Query
from .chunking import PER_TOKEN
from .live_request import LiveRequest
from .slots import SlotTable


def spoilt_by_drafts(logits: torch.Tensor, requests: Sequence[LiveRequest]) -> bool:
    """Return whether a row that is no draft is NaN in a forward with drafts.

    Args:
        logits: of all wanted rows, [W, V]; a hidden state that is NaN makes all logits of its row NaN.
    """
    if not any(request.query.drafts for request in requests):
        return False
    return bool(logits[told_rows(requests), 0].isnan().any())


def told_rows(requests: Sequence[LiveRequest]) -> list[int]:
    """Return the places among the wanted rows of those that are no drafts."""
    return [place for place, (request, index) in enumerate(_owners(requests)) if index < _told(request.query)]


def refuse_nan(requests: Sequence[LiveRequest], confidences: Sequence[float]) -> None:
    """Check the confidences of all wanted rows but those of drafts.

    Raises:
        FloatingPointError: one is NaN, where the model is not to be trusted. The NaN spreads through the shared cache,
            so that no request can go on.
    """
    if not any(map(math.isnan, confidences)):
        return
    for (request, index), confidence in zip(_owners(requests), confidences, strict=True):
        if math.isnan(confidence) and index < _told(request.query):
            position = request.query.positions[request.query.wanted[index]] + 1
            raise FloatingPointError(
                f"The model's logits are NaN at position {position} of request {request.document} while "
                f"{request.query.purpose}; check the checkpoint's weights, or load it in bfloat16 or float32 if it "
                "runs in float16."
            )


def _owners(requests: Sequence[LiveRequest]) -> list[tuple[LiveRequest, int]]:
    """Return for each wanted row of a forward its request, and its place among the request's."""
    return [(request, index) for request in requests for index in range(len(request.query.wanted))]


def _told(query: Query) -> int:
    """Count the wanted rows that are no drafts, the first ones."""
    return len(query.wanted) - query.drafts


def give_up_drafts(requests: Sequence[LiveRequest], slots: SlotTable) -> Iterator[tuple[int, Forward]]:
    """Take the drafts out of queries that have run, and their states out of the cache; yield the forward in vain."""
    for request in requests:
        query = request.query
        yield request.document, Forward(query.purpose, len(query.token_ids), commits=False)
        if query.drafts:
            slots.drop_drafts(request.document, query.streams, query.positions, erase=True)
        request.query = without_drafts(query)


def without_drafts(query: Query) -> Query:
    """Return a query that has run, to run again without its drafts, the last of its tokens."""
    tokens, rows = len(query.token_ids) - query.drafts, _told(query)
    columns = {name: getattr(query, name)[:tokens] for name in PER_TOKEN}
    allowed = query.allowed[:rows] if isinstance(query.allowed, list) else query.allowed
    return replace(query, **columns, wanted=query.wanted[:rows], allowed=allowed, drafts=0, forget=[])
