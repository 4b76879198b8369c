"""Cross entropy of chosen rows without ever holding all their logits: the head runs on a few hundred rows at a time.

K chosen rows, V vocabulary. Logits of a chunk are made twice, forward and backward, and exist for that chunk only: the
peak is `LOGITS_PER_CHUNK` numbers, whatever the batch and the vocabulary.
"""

from contextlib import contextmanager

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

LOGITS_PER_CHUNK = 2**26  # 256 MB in float32; 441 rows of a vocabulary of 152,064


@contextmanager
def head_gives_losses(head: nn.Module, rows: torch.Tensor, targets: torch.Tensor, chunk_rows: int | None = None):
    """Inside, the head returns the cross entropies of `rows`, float32 [K] in nats, in place of logits [B, L, V].

    The model's public forward is called as always, so whatever wraps it (DistributedDataParallel, FSDP, PEFT, autocast)
    sees an ordinary step; its `logits` are these losses.

    Args:
        head: the output embedding, a linear map without bias; may be wrapped by PEFT, which then merges what it trains
            into the weight once, when that is read.
        rows: int64 [K], indices into the flattened batch.
        targets: int64 [K], the token that each row predicts.
        chunk_rows: rows per chunk; by default as many as `LOGITS_PER_CHUNK` allows.
    """
    forward, was_replaced = head.forward, "forward" in vars(head)

    def losses(hidden_states: torch.Tensor) -> torch.Tensor:
        hidden, weight = hidden_states.flatten(0, 1).index_select(0, rows), head.weight  # [K, H], [V, H]
        size = chunk_rows or max(1, LOGITS_PER_CHUNK // weight.shape[0])
        if len(rows) <= size:
            return _cross_entropy(hidden, weight, targets)
        chunks = zip(hidden.split(size), targets.split(size), strict=True)
        return torch.cat([checkpoint(_cross_entropy, rows, weight, ids, use_reentrant=False) for rows, ids in chunks])

    head.forward = losses
    try:
        yield
    finally:
        if was_replaced:
            head.forward = forward
        else:
            del head.forward


def _cross_entropy(hidden: torch.Tensor, weight: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    logits = nn.functional.linear(hidden, weight)  # [rows of the chunk, V]
    return nn.functional.cross_entropy(logits.float(), targets, reduction="none")
