"""Which token may attend to which: one rule for training, packing and generation (arXiv 2510.18087, section 3.2).

Every token carries five integers; nothing else decides visibility.

    document   which request, batch row or packed example; tokens of different documents never meet
    span       -1 outside every span (prompt, plan, `<sync/>`, EOS), else a number that tokens seeing each other share:
               the span's own index (sparse attention), or one index for all spans of a round (dense attention)
    round      how many `<sync/>` precede the token, itself included if it is one
    stream     CLEAN; NOISY (a copy of a span to be denoised, in training); CAUSAL (a copy of a span read left to
               right); or DRAFT + a: a blank that guesses what follows position a, its anchor
    position   place in the document, as if written out: prompt, plan, span 1 with its tags, span 2, ..., `<sync/>`, ...
               (a copy has the positions of its original)

A prompt `p`, a plan `a b` and two sparse spans `A A`, `B B` of one round, then `s` = `<sync/>` (rows ask, `#` =
visible):

        p a b A A B B s
    p   # . . . . . . .
    a   # # . . . . . .
    b   # # # . . . . .
    A   # # # # # . . .     a span sees itself in both directions, and everything public before it
    A   # # # # # . . .
    B   # # # . . # # .     ... but no other span of its round (dense attention: also those)
    B   # # # . . # # .
    s   # # # # # # # #     a span opens to the others after the next `<sync/>`

A span `<async> x d` read left to right (`d` is a guess), and behind `x` and `d` two groups of two blanks each:

        p a b < x d 1 1 2 2
    <   # # # # . . . . . .     CAUSAL: to the left
    x   # # # # # . . . . .
    d   # # # # # # . . . .
    1   # # # # # . # # . .     what its anchor `x` sees, and its own group in both directions
    1   # # # # # . # # . .
    2   # # # # # # . . # #     likewise behind `d`; nothing but its group sees a blank
    2   # # # # # # . . # #
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch.nn.attention.flex_attention import BlockMask

CLEAN, NOISY, CAUSAL, DRAFT = 0, 1, 2, 3  # a draft's stream is DRAFT + the position of its anchor
NO_SPAN = -1
NO_DOCUMENT = -1  # an empty cache slot, or padding: no token belongs to it, so nothing sees it
FLEX_BLOCK = 128  # tokens on either side of a block of FlexAttention


@dataclass(frozen=True)
class Labels:
    """The labels of tokens: five integer tensors of one shape, [..., N]."""

    document: torch.Tensor
    span: torch.Tensor
    round: torch.Tensor
    stream: torch.Tensor
    position: torch.Tensor

    def each(self, change: Callable[[torch.Tensor], torch.Tensor]) -> "Labels":
        """Apply a function to each tensor (indexing, reshaping, moving)."""
        return Labels(*map(change, (self.document, self.span, self.round, self.stream, self.position)))

    def stacked(self) -> torch.Tensor:
        """Return one tensor [5, ..., N]; `Labels(*stacked)` takes it apart."""
        return torch.stack((self.document, self.span, self.round, self.stream, self.position))

    def to(self, device: torch.device | str) -> "Labels":
        return self.each(lambda label: label.to(device))


def is_visible(query: Labels, key: Labels) -> torch.Tensor:
    """Apply the rule itself to labels that broadcast against each other; returns bool.

    A token sees tokens of its own document:
    1. Inside its span, in its own stream: in both directions; in the CAUSAL stream to the left only.
    2. Outside its span: clean tokens that are not later and public, that is, in no span or in one of an earlier round.
    3. A draft: what its anchor sees, in the CAUSAL stream of a span and among clean tokens outside; and all drafts that
       share its anchor.
    """
    is_draft = query.stream >= DRAFT
    to_the_left = key.position <= torch.where(is_draft, query.stream - DRAFT, query.position)
    is_causal = is_draft | (query.stream == CAUSAL)
    same_span, same_stream = query.span == key.span, query.stream == key.stream
    in_span = same_span & (key.span != NO_SPAN)
    within = in_span & torch.where(is_causal, (key.stream == CAUSAL) & to_the_left, same_stream)
    beside = same_span & same_stream & is_draft
    public = (key.span == NO_SPAN) | (key.round < query.round)
    outside = to_the_left & public & (key.stream == CLEAN)
    return (query.document == key.document) & (within | beside | outside)


def dense_mask(query: Labels, key: Labels) -> torch.Tensor:
    """Return the bool mask [..., Q, K] of query labels [..., Q] and key labels [..., K]."""
    return is_visible(query.each(lambda label: label[..., :, None]), key.each(lambda label: label[..., None, :]))


def additive_mask(mask: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Return what eager attention adds to its scores: 0 where visible, the lowest finite number elsewhere."""
    return torch.zeros(mask.shape, dtype=dtype, device=mask.device).masked_fill_(~mask, torch.finfo(dtype).min)


def flex_mask(query: Labels, key: Labels) -> "BlockMask":
    """Return FlexAttention's BlockMask [B, 1, Q, K] of query labels [B, Q] and key labels [B, K] (arXiv 2412.05496).

    Built from the labels directly: `create_block_mask` of torch gives the same, but takes 13 times as long for a step
    of 130 tokens.
    """
    from torch.nn.attention.flex_attention import BlockMask

    def rule(
        batch: torch.Tensor, head: torch.Tensor, query_index: torch.Tensor, key_index: torch.Tensor
    ) -> torch.Tensor:
        return is_visible(
            query.each(lambda label: label[batch, query_index]), key.each(lambda label: label[batch, key_index])
        )

    (queries, keys), side = (query.span.shape[1], key.span.shape[1]), FLEX_BLOCK
    padding = (0, -keys % side, 0, -queries % side)
    visible = torch.nn.functional.pad(dense_mask(query, key), padding)[:, None]  # [B, 1, Q', K']
    blocks = visible.unflatten(3, (-1, side)).unflatten(2, (-1, side))  # [B, 1, Q' / side, side, K' / side, side]
    some, every = blocks.any(5).any(3), blocks.all(5).all(3)
    return BlockMask.from_kv_blocks(
        *_numbers(some & ~every), *_numbers(every), BLOCK_SIZE=side, mask_mod=rule, seq_lengths=(queries, keys)
    )


def _numbers(listed: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Count the listed blocks of each row, int32 [..., Q], and number all, the listed first, int32 [..., Q, K]."""
    numbers = listed.int().argsort(dim=-1, descending=True, stable=True)
    return listed.sum(-1, dtype=torch.int32), numbers.int()


def attention_mask(query: Labels, key: Labels, implementation: str, dtype: torch.dtype) -> "torch.Tensor | BlockMask":
    """Return the mask of labels [B, Q] and [B, K] in the form that an attention implementation reads.

    sdpa: bool [B, 1, Q, K]; eager: additive `dtype` [B, 1, Q, K]; flex_attention: a BlockMask.

    Raises:
        ValueError: the implementation cannot express spans (FlashAttention).
    """
    if implementation == "flex_attention":
        return flex_mask(query, key)
    if implementation not in ("sdpa", "eager"):
        raise ValueError(
            f"attn_implementation={implementation!r} cannot express spans that see in both directions; load the model "
            'with attn_implementation="sdpa", "eager" or "flex_attention".'
        )
    mask = dense_mask(query, key)[:, None]  # [B, 1, Q, K]
    return mask if implementation == "sdpa" else additive_mask(mask, dtype)
