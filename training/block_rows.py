"""A plain answer in blocks: the training row of block diffusion, and with one block that of plain diffusion."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from ..generation.tokens import ControlTokens
from ..generation.visibility import CLEAN, NO_SPAN, NOISY
from .examples import Example
from .row import NO_LABEL, SPAN, Row, targets_of


def in_blocks(
    example: Example,
    control: ControlTokens,
    rng: np.random.Generator,
    block_sizes: Sequence[int],
    noise_range: Sequence[float],
) -> Row:
    """Return the plain answer in blocks without tags, each a span and a round of its own; pads fill the last one.

        ids       p  x y | z EOS         clean: prompt and the blocks that a later one reads
        ids                # y   z #     noisy: every block
        label     x  . z   y .   # .     ... masked tokens at their left neighbour; the first of a block at the clean
                                         token before it, always: nothing there tells whether it is masked

    All pads together weigh as much as one token: they are many and easy.
    """
    prompt, answer = example.prompt_length, example.plain_answer
    size = int(rng.choice(block_sizes))
    pads = -len(answer) % size
    ids = np.concatenate([example.ids[:prompt], answer, np.full(pads, control.span_pad)])
    position = np.arange(len(ids))
    block = np.where(position < prompt, NO_SPAN, (position - prompt) // size)
    importance = np.where(position < prompt + len(answer), 1.0, 1.0 / max(1, pads))
    level = rng.uniform(*noise_range, size=block.max() + 1)[block]
    is_masked = (block != NO_SPAN) & (rng.random(len(ids)) < level)
    is_first = (block != NO_SPAN) & (np.append(-1, block[:-1]) != block)
    text = _Blocks(ids, block, noisy_ids=np.where(is_masked, control.mask, ids))
    clean = text.stream(CLEAN, block < block.max(), np.where(is_first, importance, 0.0))
    noisy = text.stream(NOISY, block != NO_SPAN, np.where(is_masked & ~is_first, importance / level, 0.0))
    return replace(Row.joined([clean, noisy]), targets=targets_of(SPAN, len(answer) + (pads > 0)))


@dataclass(frozen=True)
class _Blocks:
    """A prompt and its answer in blocks, pads included: arrays over all tokens, position == index."""

    ids: np.ndarray
    block: np.ndarray
    noisy_ids: np.ndarray

    def stream(self, stream: int, is_included: np.ndarray, weight: np.ndarray) -> Row:
        """Return the included tokens as a row of one stream, without targets.

        Args:
            weight: loss weight of each token, 0 where it is no label; the label stands at the token before.
        """
        position = np.flatnonzero(is_included)
        weights = np.append(weight[1:], 0.0)[position]
        following = np.append(self.ids[1:], 0)[position]
        return Row(
            ids=(self.noisy_ids if stream == NOISY else self.ids)[position],
            span=self.block[position],
            round=np.maximum(self.block, 0)[position],
            stream=np.full(len(position), stream),
            position=position,
            labels=np.where(weights > 0, following, NO_LABEL),
            weights=weights.astype(np.float32),
            loss_part=np.full(len(position), SPAN),
            targets=targets_of(SPAN, 0),
        )
