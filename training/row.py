"""A training row: ids with their visibility labels, what each token is to predict, and what that counts."""

from dataclasses import dataclass, fields

import numpy as np

NO_LABEL = -100
# Which part of the loss a label belongs to; NEXT_TOKEN is the auxiliary loss on causal copies.
PARTS = (PLAN, SPAN, NEXT_TOKEN, PLAIN) = (0, 1, 2, 3)


@dataclass(frozen=True)
class Row:
    """One training row: arrays of length L (weights float32, the others int64), and what it adds to the normaliser.

    `labels` is -100 where nothing counts, `part` says which part of the loss a label belongs to. `targets`, int64 [4],
    counts per part what its expectation runs over: plan tokens, content tokens (masked or not, pads included), labels
    of causal copies, tokens of the plain answer.
    """

    ids: np.ndarray
    span: np.ndarray
    round: np.ndarray
    stream: np.ndarray
    position: np.ndarray
    labels: np.ndarray
    weights: np.ndarray
    part: np.ndarray
    targets: np.ndarray

    @classmethod
    def joined(cls, pieces: list["Row"]) -> "Row":
        arrays = [field.name for field in fields(cls) if field.name != "targets"]
        return cls(
            **{name: np.concatenate([getattr(piece, name) for piece in pieces]) for name in arrays},
            targets=sum(piece.targets for piece in pieces),
        )


def count(part: int, counts: np.ndarray) -> np.ndarray:
    """`Row.targets` of tokens that all belong to one part."""
    targets = np.zeros(len(PARTS), dtype=np.int64)
    targets[part] = np.count_nonzero(counts)
    return targets
