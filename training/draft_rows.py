"""Blanks that learn to guess ahead: what speculative decoding runs beside the text that it checks.

Behind some tokens of a text that is read left to right, its anchors, stand k blanks each. A blank has the label of the
text's own row at its position. A part `x y z w` with an anchor at `x` and one at `z`, and k = 3 (`#` = mask):

    ids       x y z w | # # # | # # #
    position  4 5 6 7 | 5 6 7 | 7 8 9
    stream    text's  | DRAFT + 4 | DRAFT + 6
    label     y z w e | z w e | e - -       the anchor's own row predicts the token next to it, the first blank the
                                            one after that; e ends the part: [PAD] in a span, <sync/> or EOS elsewhere

A part is a span (its CAUSAL copy), the plan of a round, or a plain answer. All k blanks stand behind every anchor, with
labels or without: a group that was shorter near the end of its part would tell its blanks that the end is near.

Where nothing but drafts is learnt (`drafts_alone`), the text is there to be seen, and only the blanks have labels.
"""

from dataclasses import replace

import numpy as np

from ..generation import visibility
from ..generation.tokens import ControlTokens
from .objective import Objective
from .row import DRAFT, NO_LABEL, Row, targets_of


def with_drafts(row: Row, objective: Objective, control: ControlTokens, rng: np.random.Generator) -> Row:
    """Return the row with blanks behind anchors that are drawn in each of its parts; no draw without `draft_weight`."""
    if not objective.draft_weight:
        return row
    part = _parts(row)
    anchors = _anchors(part, objective.draft_anchors, rng)
    blanks = _blanks(row, part, anchors, objective, control.mask)
    return Row.joined([_without_labels(row) if objective.drafts_alone else row, blanks])


def _without_labels(row: Row) -> Row:
    """Return the row with nothing to learn in it."""
    return replace(
        row,
        labels=np.full_like(row.labels, NO_LABEL),
        weights=np.zeros_like(row.weights),
        targets=np.zeros_like(row.targets),
    )


def _parts(row: Row) -> np.ndarray:
    """Number the parts from 1: labelled tokens at consecutive positions; between two parts lies a tag without label.

    A token that is noisy or has no label gets a number of its own.
    """
    is_read = (row.labels != NO_LABEL) & (row.stream != visibility.NOISY)
    goes_on = is_read[1:] & is_read[:-1] & (row.position[1:] == row.position[:-1] + 1)
    return np.cumsum(np.append(True, ~goes_on))


def _anchors(part: np.ndarray, most: int, rng: np.random.Generator) -> np.ndarray:
    """Draw up to `most` anchors of each part without replacement; the last token of a part is none.

    Returns:
        indices into the row, ascending.
    """
    candidates = np.flatnonzero(part[:-1] == part[1:])
    shuffled = candidates[np.lexsort((rng.random(len(candidates)), part[candidates]))]  # within each part
    rank = np.arange(len(shuffled)) - np.searchsorted(part[shuffled], part[shuffled])
    return np.sort(shuffled[rank < most])


def _blanks(row: Row, part: np.ndarray, anchors: np.ndarray, objective: Objective, mask: int) -> Row:
    """Return a group of `draft_tokens` blanks behind each anchor; each weighs `draft_decay` times the one before it."""
    ahead = objective.draft_tokens
    anchor = np.repeat(anchors, ahead)
    offset = np.tile(np.arange(1, ahead + 1), len(anchors))
    counts = np.append(part, np.zeros(ahead, dtype=np.int64))[anchor + offset] == part[anchor]
    following = np.append(row.labels, np.full(ahead, NO_LABEL))[anchor + offset]
    return Row(
        ids=np.full(len(anchor), mask),
        span=row.span[anchor],
        round=row.round[anchor],
        stream=visibility.DRAFT + row.position[anchor],
        position=row.position[anchor] + offset,
        labels=np.where(counts, following, NO_LABEL),
        weights=(counts * objective.draft_weight * objective.draft_decay ** (offset - 1)).astype(np.float32),
        loss_part=np.full(len(anchor), DRAFT),
        targets=targets_of(DRAFT, np.count_nonzero(counts)),
    )
