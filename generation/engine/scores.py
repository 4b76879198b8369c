"""Scores of output rows: how sure the model is of each token that it predicts."""

import torch


def entropy(logits: torch.Tensor, probabilities: torch.Tensor, largest: torch.Tensor) -> torch.Tensor:
    """Return the negative entropy, in nats: 0 for a certain row, -log V for a uniform one."""
    # With the largest logit at 0, nothing large cancels: rows that are nearly certain keep their order.
    return torch.linalg.vecdot(probabilities, logits) + largest.log()


def confidence(logits: torch.Tensor, probabilities: torch.Tensor, largest: torch.Tensor) -> torch.Tensor:
    """Return the largest probability."""
    return largest


def margin(logits: torch.Tensor, probabilities: torch.Tensor, largest: torch.Tensor) -> torch.Tensor:
    """Return the largest probability minus the second largest."""
    top = probabilities.topk(2, dim=-1).values
    return top[..., 0] - top[..., 1]


# (logits, probabilities, largest probability), float32 [W, V] twice and [W], to scores [W]; the highest are written
# first. The logits are filtered (excluded tokens are finite but very low) and shifted: the largest of each row is 0.
SCORES = {"entropy": entropy, "confidence": confidence, "margin": margin}
