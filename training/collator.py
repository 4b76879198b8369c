"""From rows to one number: batches of rows, and the loss on exactly those rows that carry a label.

B rows of a batch, L its padded length, K labelled rows, V vocabulary, H width.
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
from .row import NEXT_TOKEN, NO_LABEL, Row
from .rows import draw_row

# A query that sees nothing gives NaN, so padding is a document of its own: it sees padding, and nobody sees it.
PADDING_DOCUMENT = 0


PADDED_TO_MULTIPLE_OF = 8


# Field of a row -> key of the batch, and what padding holds.
_ARRAYS = {
    "ids": ("input_ids", 0),
    "position": ("position_ids", 0),
    "labels": ("labels", NO_LABEL),
    "weights": ("loss_weights", 0.0),
    "part": ("part", 0),
    "span": ("span", NO_SPAN),
    "round": ("round", 0),
    "stream": ("stream", CLEAN),
}


@dataclass
class PlannedDiffusionCollator:
    """Draws the rows of a batch and pads them to one length.

    Every draw depends on (seed, epoch, the example's index) alone: a resumed run, a prefetching loader or another batch
    size changes nothing. The trainer sets `epoch` when one begins; `is_evaluation` gives evaluation draws of its own,
    always the same, and uses a tagged example neither as plain text nor in blocks.

    packed_length: lay as many examples into one row as fit into so many tokens, or into the batch's longest row where
        that is longer, each a document of its own; None gives every example its own row. The loss is the same: only
        padding is saved.
    """

    objective: Objective
    control: ControlTokens
    is_evaluation: bool = False
    epoch: int = 0
    packed_length: int | None = None

    def __post_init__(self):
        if self.is_evaluation:
            self.objective = replace(self.objective, plain_share=0.0, block_share=0.0)

    def __call__(self, items: Sequence[dict]) -> dict[str, torch.Tensor]:
        """A batch of items {"index", "ids", "span", "round", "is_target", "plain_answer"} (see `dataset.as_dataset`).

        Returns:
            input_ids, position_ids, labels, part, document, span, round, stream: int64 [B, L]; loss_weights: float32
            [B, L]; part_targets: int64 [4], `Row.targets` summed; num_targets: int64 scalar, what the batch adds to the
            normaliser.
        """
        return as_batch([self._row(item) for item in items], self.packed_length)

    def _row(self, item: dict) -> Row:
        columns = {name: np.asarray(item[name]) for name in ("ids", "span", "round", "is_target", "plain_answer")}
        seed = (
            self.objective.seed,
            int(self.is_evaluation),
            0 if self.is_evaluation else self.epoch,
            int(item["index"]),
        )
        return draw_row(Example(**columns), self.objective, self.control, np.random.default_rng(seed))


def as_batch(rows: Sequence[Row], packed_length: int | None = None) -> dict[str, torch.Tensor]:
    """Rows padded on the right to a multiple of 8 tokens; several share a line where `packed_length` lets them."""
    lengths = [len(row.ids) for row in rows]
    if packed_length is None:
        lines = [[index] for index in range(len(rows))]
    else:
        lines = pack(lengths, max([packed_length, *lengths]))
    longest = max(sum(lengths[index] for index in line) for line in lines)
    longest = -(-longest // PADDED_TO_MULTIPLE_OF) * PADDED_TO_MULTIPLE_OF
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
    batch["part_targets"] = torch.from_numpy(np.sum([row.targets for row in rows], axis=0))  # [4]
    # The causal copies are an auxiliary loss on tokens that count already.
    batch["num_targets"] = batch["part_targets"].sum() - batch["part_targets"][NEXT_TOKEN]
    return batch
