"""A plain answer in blocks: the training row of block diffusion, and with one block of plain diffusion."""

from collections.abc import Sequence

import numpy as np

from ..generation.tokens import ControlTokens
from ..generation.visibility import CLEAN, NO_SPAN, NOISY
from .examples import Example
from .row import NO_LABEL, SPAN, Row, count


def in_blocks(
    example: Example,
    control: ControlTokens,
    rng: np.random.Generator,
    block_sizes: Sequence[int],
    noise_range: tuple[float, float],
) -> Row:
    """The plain answer in blocks without tags, each a span and a round of its own; pads fill the last one behind EOS.

        ids       p  x y | z EOS         clean: prompt and the blocks that a later one reads
        ids                # y   z #     noisy: every block
        label     x  . z   y .   # .     ... masked tokens at their left neighbour; the first of a block at the clean
                                         token before it, always: nothing there tells whether it is masked

    All pads together weigh as much as one token: they are many and easy.
    """
    prompt = example.prompt_length
    answer = example.plain_answer if example.is_tagged else example.ids[prompt:]
    size = int(rng.choice(block_sizes))
    pads = -len(answer) % size
    ids = np.concatenate([example.ids[:prompt], answer, np.full(pads, control.span_pad)])
    position = np.arange(len(ids))
    block = np.where(position < prompt, NO_SPAN, (position - prompt) // size)
    importance = np.where(position < prompt + len(answer), 1.0, 1.0 / max(1, pads))
    level = rng.uniform(*noise_range, size=block.max() + 1)[block]
    is_masked = (block != NO_SPAN) & (rng.random(len(ids)) < level)
    is_first = (block != NO_SPAN) & (np.append(-1, block[:-1]) != block)

    def labelled(stream: int, rows: np.ndarray, predicted: np.ndarray, weights: np.ndarray, targets: int) -> Row:
        """`rows` of one stream; the token at p + 1 is a label at p where `predicted[p + 1]`."""
        following = np.append(position[1:], 0)[rows]
        counts = predicted[following] & (following > 0)
        return Row(
            ids=np.where(is_masked & (stream == NOISY), control.mask, ids)[rows],
            span=block[rows],
            round=np.maximum(block, 0)[rows],
            stream=np.full(len(rows), stream),
            position=rows,
            labels=np.where(counts, ids[following], NO_LABEL),
            weights=(counts * weights[following]).astype(np.float32),
            part=np.full(len(rows), SPAN),
            targets=count(SPAN, np.ones(targets)),
        )

    clean, noisy = np.flatnonzero(block < block.max()), np.flatnonzero(block != NO_SPAN)
    return Row.joined(
        [
            labelled(CLEAN, clean, is_first, importance, len(answer) + (pads > 0)),
            labelled(NOISY, noisy, is_masked & ~is_first, importance / level, 0),
        ]
    )
