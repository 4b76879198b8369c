"""Which token may attend to which: one rule for training, packing and generation (arXiv 2510.18087, section 3.2).

Every token carries five integers; nothing else decides visibility.

    document   which request, batch row or packed example; tokens of different documents never meet
    span       -1 outside every span (prompt, plan, `<sync/>`, EOS), else a number that tokens seeing each other share:
               the span's own index (sparse attention), or one index for all spans of a round (dense attention)
    round      how many `<sync/>` precede the token, itself included if it is one
    stream     CLEAN; in training also NOISY (a copy of a span to be denoised) or CAUSAL (a copy read left to right)
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
"""

from dataclasses import dataclass

import torch

CLEAN, NOISY, CAUSAL = 0, 1, 2
NO_SPAN = -1
NO_DOCUMENT = -1  # an empty cache slot, or padding: no token belongs to it, so nothing sees it


@dataclass(frozen=True)
class Labels:
    """Five integer tensors of one shape, [..., N]."""

    document: torch.Tensor
    span: torch.Tensor
    round: torch.Tensor
    stream: torch.Tensor
    position: torch.Tensor

    def each(self, change) -> "Labels":
        """The labels with `change` applied to each tensor (indexing, reshaping, moving)."""
        return Labels(*map(change, (self.document, self.span, self.round, self.stream, self.position)))

    def to(self, device) -> "Labels":
        return self.each(lambda label: label.to(device))


def is_visible(query: Labels, key: Labels) -> torch.Tensor:
    """The rule itself, bool, on labels that broadcast against each other.

    1. Inside a span (one stream of it), both directions; in the CAUSAL stream to the left only.
    2. Outside it, what is clean, not later, and public: not in a span, or in a span of an earlier round.
    """
    to_the_left = key.position <= query.position
    same_span = (query.span == key.span) & (key.span != NO_SPAN) & (query.stream == key.stream)
    within = same_span & (to_the_left | (query.stream != CAUSAL))
    public = (key.span == NO_SPAN) | (key.round < query.round)
    outside = to_the_left & public & (key.stream == CLEAN)
    return (query.document == key.document) & (within | outside)


def dense_mask(query: Labels, key: Labels) -> torch.Tensor:
    """Bool mask, [..., Q, K], of query labels [..., Q] and key labels [..., K]."""
    return is_visible(query.each(lambda label: label[..., :, None]), key.each(lambda label: label[..., None, :]))


def additive_mask(mask: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """0 where visible, the lowest finite number elsewhere; what eager attention adds to its scores."""
    return torch.zeros(mask.shape, dtype=dtype, device=mask.device).masked_fill_(~mask, torch.finfo(dtype).min)


def flex_mask(query: Labels, key: Labels):
    """FlexAttention's BlockMask, [B, 1, Q, K], of query labels [B, Q] and key labels [B, K] (arXiv 2412.05496)."""
    from torch.nn.attention.flex_attention import create_block_mask

    def rule(batch, head, query_index, key_index):
        return is_visible(
            query.each(lambda label: label[batch, query_index]), key.each(lambda label: label[batch, key_index])
        )

    (batch, queries), keys = query.span.shape, key.span.shape[1]
    return create_block_mask(rule, batch, None, queries, keys, device=query.span.device)


def attention_mask(query: Labels, key: Labels, implementation: str, dtype: torch.dtype):
    """The mask of labels [B, Q] and [B, K] in the form that an attention implementation reads.

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
