"""Log-probabilities of drawn tokens: the rows that carry them from the device, and the event that tells them."""

from collections.abc import Iterable, Sequence
from typing import Protocol

import torch

from ..events import RowsScored
from ..query import Query, Sampling


class Drawing(Protocol):
    """Something that is drawn as its sampling says: a group of rows, or a request."""

    @property
    def sampling(self) -> Sampling: ...


def likelihood_row_count(groups: Iterable[Drawing]) -> int:
    """Return how many rows log-probabilities take: the token's own, then ids and log-probabilities of the likeliest."""
    asked = [group.sampling.top_logprobs for group in groups if group.sampling.top_logprobs is not None]
    return 1 + 2 * max(asked) if asked else 0


def likelihood_rows(logprobs: torch.Tensor, tokens: torch.Tensor, most: int) -> torch.Tensor:
    """Return the log-probabilities of drawn tokens, and the likeliest tokens with theirs.

    Args:
        logprobs: float32 [W, V].
        tokens: their ids as float32 [W].
        most: how many of the likeliest.

    Returns:
        float32 [1 + 2 * most, W]: the token's own, then an id and its log-probability in turn, likeliest first.
    """
    own = logprobs.gather(-1, tokens.long()[:, None])
    values, ids = logprobs.topk(most, dim=-1)  # [W, most]
    pairs = torch.stack([ids.float(), values], dim=-1).flatten(1)  # [W, 2 * most]
    return torch.cat([own, pairs], dim=-1).T


def rows_scored(
    request: Drawing, query: Query, tokens: Sequence[float], likelihoods: Sequence[Sequence[float]]
) -> RowsScored:
    """Return the event for the rows of a query but its guesses, from the rows of `likelihood_rows` as lists."""
    rows, most = len(query.wanted) - query.drafts, request.sampling.top_logprobs or 0
    own, ids, values = likelihoods[0], likelihoods[1 : 1 + 2 * most : 2], likelihoods[2 : 2 + 2 * most : 2]
    return RowsScored(
        positions=tuple(query.positions[row] + 1 for row in query.wanted[:rows]),
        token_ids=tuple(map(int, tokens[:rows])),
        logprobs=tuple(own[:rows]),
        alternatives=tuple(
            tuple((int(each[row]), value[row]) for each, value in zip(ids, values, strict=True)) for row in range(rows)
        ),
    )
