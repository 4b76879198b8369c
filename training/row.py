"""A training row: ids with their visibility labels, the token that each place predicts, and its loss weight."""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np

NO_LABEL = -100
# The shares of the loss that are reported apart: NEXT_TOKEN of the causal copies, DRAFT of the blanks behind anchors.
LOSS_PARTS = (PLAN, SPAN, NEXT_TOKEN, PLAIN, DRAFT) = (0, 1, 2, 3, 4)
LOSS_NAMES = {  # in logs
    PLAN: "plan_loss",
    SPAN: "span_loss",
    NEXT_TOKEN: "next_token_loss",
    PLAIN: "plain_loss",
    DRAFT: "draft_loss",
}
AUXILIARY = (NEXT_TOKEN, DRAFT)  # their labels are tokens that count already, so they do not enter the normaliser


@dataclass(frozen=True)
class Row:
    """A training row: arrays of length L (weights float32, the others int64), and its share of the normaliser.

    `labels` is -100 where nothing counts; `loss_part` is the one of `LOSS_PARTS` to which a label belongs. `targets`,
    int64 [5], counts for each of them the tokens of its expectation: plan tokens, content tokens (masked or not, pads
    included), labels of causal copies, tokens of the plain answer, labels of drafts.
    """

    ids: np.ndarray
    span: np.ndarray
    round: np.ndarray
    stream: np.ndarray
    position: np.ndarray
    labels: np.ndarray
    weights: np.ndarray
    loss_part: np.ndarray
    targets: np.ndarray

    @classmethod
    def joined(cls, pieces: Sequence["Row"]) -> "Row":
        """Return the pieces as one row, one behind the other."""
        arrays = [field.name for field in fields(cls) if field.name != "targets"]
        return cls(
            **{name: np.concatenate([getattr(piece, name) for piece in pieces]) for name in arrays},
            targets=np.sum([piece.targets for piece in pieces], axis=0),
        )


def targets_of(loss_part: int, count: int | np.integer) -> np.ndarray:
    """Return `Row.targets` of `count` tokens that all belong to one loss part."""
    targets = np.zeros(len(LOSS_PARTS), dtype=np.int64)
    targets[loss_part] = count
    return targets
