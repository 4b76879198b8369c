"""Cross entropy of chosen tokens without ever holding all their logits: the head runs on a few hundred at a time.

K chosen tokens, V vocabulary, H width. Logits of a chunk are made twice, forward and backward, and exist for that chunk
only: the peak is `LOGITS_PER_CHUNK` numbers, whatever the batch and the vocabulary.

The surprise of this file: inside `losses_in_place_of_logits` a model's output field `logits` holds losses. The head is
replaced rather than called, because whatever wraps the model (DistributedDataParallel, FSDP, PEFT, autocast) must see
an ordinary call of its public forward, and that forward ends in the head.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

LOGITS_PER_CHUNK = 2**26  # 256 MB in float32; 441 tokens with a vocabulary of 152,064


@contextmanager
def losses_in_place_of_logits(
    head: nn.Module, places: torch.Tensor, targets: torch.Tensor, chunk_size: int | None = None
) -> Iterator[None]:
    """Make the head return the cross entropies at `places`, float32 [K] in nats, in place of logits [B, L, V].

    A model that is called inside has these losses as its output's `logits`.

    Args:
        head: the output embedding, a linear map without bias; may be wrapped by PEFT, which then merges its trained
            rows into the weight once, when that is read.
        places: int64 [K], indices into the flattened batch.
        targets: int64 [K], the token that each place predicts.
        chunk_size: places per chunk; by default as many as `LOGITS_PER_CHUNK` allows.
    """
    forward, was_replaced = head.forward, "forward" in vars(head)

    def losses(hidden_states: torch.Tensor) -> torch.Tensor:
        weight = head.weight  # [V, H]
        assert isinstance(weight, torch.Tensor)
        hidden = hidden_states.flatten(0, 1).index_select(0, places)  # [K, H]
        size = chunk_size or max(1, LOGITS_PER_CHUNK // weight.shape[0])
        if len(places) <= size:
            return _cross_entropy(hidden, weight, targets)
        chunks = zip(hidden.split(size), targets.split(size), strict=True)
        return torch.cat([_checkpointed(chunk, weight, ids) for chunk, ids in chunks])

    head.forward = losses
    try:
        yield
    finally:
        if was_replaced:
            head.forward = forward
        else:
            del head.forward


def _checkpointed(hidden: torch.Tensor, weight: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Return `_cross_entropy`, whose logits are dropped now and computed again for the gradient."""
    losses = checkpoint(_cross_entropy, hidden, weight, targets, use_reentrant=False)
    assert isinstance(losses, torch.Tensor)
    return losses


def _cross_entropy(hidden: torch.Tensor, weight: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Return the cross entropy of each target, float32, in nats."""
    logits = nn.functional.linear(hidden, weight)  # [tokens of the chunk, V]
    return nn.functional.cross_entropy(logits.float(), targets, reduction="none")
