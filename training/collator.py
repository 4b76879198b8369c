"""Draw the training rows of a batch and lay them out as tensors.

B lines of a batch, each with one or several rows; L the padded length of a line.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from ..generation.tokens import ControlTokens
from ..generation.visibility import CLEAN, NO_SPAN
from .bin_packing import pack
from .examples import Example
from .objective import Objective
from .row import AUXILIARY, DRAFT, NO_LABEL, Row
from .rows import draw_row

# A query that sees nothing gives NaN, so padding is a document of its own: it sees padding, and nothing else sees it.
PADDING_DOCUMENT = 0
PAD_TO_MULTIPLE_OF = 8
# Field of a row -> key of the batch, and the value in padding.
_ARRAYS = {
    "ids": ("input_ids", 0),
    "position": ("position_ids", 0),
    "labels": ("labels", NO_LABEL),
    "weights": ("loss_weights", 0.0),
    "loss_part": ("loss_part", 0),
    "span": ("span", NO_SPAN),
    "round": ("round", 0),
    "stream": ("stream", CLEAN),
}


@dataclass
class PlannedDiffusionCollator:
    """A source of batches: draws the rows of the examples that are asked for and pads them to one length.

    Every draw depends on (seed, epoch, the example's index) alone: a resumed run, a prefetching loader or another batch
    size changes nothing.

    Args:
        examples: the examples that a batch's indices count.
        objective: the draws; evaluation leaves out plain text and blocks, so that each tagged example is a plan, unless
            nothing but drafts is learnt.
        control: ids of the control tokens.
        is_evaluation: use draws that differ from those of training and are the same in every epoch.
        epoch: set by the trainer when an epoch begins.
        packed_length: tokens of a line that several rows may share, each a document of its own; a batch's longest row
            counts instead where it is longer. None gives every row its own line. The loss is the same: only padding is
            saved.
        pad_to_multiple_of: lines are padded to a multiple of this number of tokens.
    """

    examples: Sequence[Example]
    objective: Objective
    control: ControlTokens
    is_evaluation: bool = False
    epoch: int = 0
    packed_length: int | None = None
    pad_to_multiple_of: int = PAD_TO_MULTIPLE_OF

    def __post_init__(self) -> None:
        if self.is_evaluation and not self.objective.drafts_alone:
            self.objective = replace(self.objective, plain_share=0.0, block_share=0.0)

    def __call__(self, items: Sequence[dict[str, int]]) -> dict[str, torch.Tensor]:
        """Return a batch of the examples at `item["index"]` of the items (lines of `dataset.as_dataset`).

        Returns:
            input_ids, position_ids, labels, loss_part, document, span, round, stream: int64 [B, L]; loss_weights:
            float32 [B, L]; loss_part_targets: int64 [5], `Row.targets` summed; num_targets: int64 scalar, the batch's
            share of the normaliser.
        """
        batch = as_batch([self.draw(int(item["index"])) for item in items], self.packed_length, self.pad_to_multiple_of)
        if self.objective.drafts_alone:
            batch["num_targets"] = batch["loss_part_targets"][DRAFT]
        return batch

    def draw(self, index: int) -> Row:
        """Draw the row of one example."""
        epoch = 0 if self.is_evaluation else self.epoch
        rng = np.random.default_rng((self.objective.seed, int(self.is_evaluation), epoch, index))
        return draw_row(self.examples[index], self.objective, self.control, rng)


def as_batch(
    rows: Sequence[Row], packed_length: int | None = None, pad_to_multiple_of: int = PAD_TO_MULTIPLE_OF
) -> dict[str, torch.Tensor]:
    """Return rows padded on the right to a common length; with `packed_length` several share a line."""
    lengths = [len(row.ids) for row in rows]
    if packed_length is None:
        lines = [[index] for index in range(len(rows))]
    else:
        lines = pack(lengths, max([packed_length, *lengths]))
    longest = max(sum(lengths[index] for index in line) for line in lines)
    longest = -(-longest // pad_to_multiple_of) * pad_to_multiple_of
    batch = {}
    for field, (key, padding) in _ARRAYS.items():
        padded = np.full((len(lines), longest), padding, dtype=np.float32 if field == "weights" else np.int64)
        for target, line in zip(padded, lines, strict=True):
            joined = np.concatenate([getattr(rows[index], field) for index in line])
            target[: len(joined)] = joined
        batch[key] = torch.from_numpy(padded)  # [B, L]
    documents = np.full((len(lines), longest), PADDING_DOCUMENT)
    for target, line in zip(documents, lines, strict=True):
        numbers = np.arange(len(line)) + PADDING_DOCUMENT + 1
        of_tokens = np.repeat(numbers, [lengths[index] for index in line])
        target[: len(of_tokens)] = of_tokens
    batch["document"] = torch.from_numpy(documents)
    batch["loss_part_targets"] = torch.from_numpy(np.sum([row.targets for row in rows], axis=0))  # [5]
    batch["num_targets"] = batch["loss_part_targets"].sum() - batch["loss_part_targets"][list(AUXILIARY)].sum()
    return batch
