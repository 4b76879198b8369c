"""CPU only (with sdpa): heads that share keys attend as rows of one product.

    transformers   9 heads x N rows over keys of 9 heads, those of 3 repeated
    here           3 heads x 3 N rows over keys of 3 heads

The sums are the same. A layer of 9 heads on 3 takes 50 us for 83 (8 rows over 150 slots, one thread). For a single row
transformers does so itself, and batches of segments (attention_cpu.py) have it built in.

An attention function belongs to a configuration, so the backbone's is given this one while a forward runs. Forwards of
other threads meanwhile may find it, too, also those whose mask transformers makes.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedConfig
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from .single_rows import heads_per_key

SDPA, GROUPED = "sdpa", f"{__name__}.grouped_attention"  # names of attention functions
KNOWN = {"scaling", "is_causal", "sliding_window", "position_ids", "use_cache"}  # heeded, or of no effect beside a mask


def grouped_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """Attend as `sdpa_attention_forward` does, and by it wherever heads share no keys or more than a mask is given.

    Args:
        module: the layer.
        query: [B, H, N, D].
        key: [B, K, S, D], each for H / K heads, one after another.
        value: as key.
        attention_mask: [B, 1, N, S], bool or added to the scores.
        kwargs: what else transformers gives to attention functions: `scaling` of the scores, `dropout`, ...
    """
    batch, heads, rows, size = query.shape
    sharing = heads // key.shape[1]
    given = {name for name, one in kwargs.items() if isinstance(one, torch.Tensor) or one}
    is_grouped = sharing > 1 and rows > 1 and not given - KNOWN
    # A mask of another type attends by itself (attention_cpu.py).
    if not is_grouped or attention_mask is None or type(attention_mask) is not torch.Tensor:
        return sdpa_attention_forward(module, query, key, value, attention_mask, **kwargs)
    if attention_mask.shape[1] > 1:  # one for each head
        return sdpa_attention_forward(module, query, key, value, attention_mask, **kwargs)
    out = scaled_dot_product_attention(
        query.reshape(batch, heads // sharing, sharing * rows, size),
        key,
        value,
        attn_mask=attention_mask.repeat(1, 1, sharing, 1),
        scale=kwargs.get("scaling"),
    )
    return out.view(batch, heads, rows, -1).transpose(1, 2).contiguous(), None


AttentionInterface.register(GROUPED, grouped_attention)
AttentionMaskInterface.register(GROUPED, sdpa_mask)


def can_group(config: PreTrainedConfig, device: torch.device) -> bool:
    """Return whether a backbone attends by sdpa on a CPU, with heads that share keys."""
    return device.type == "cpu" and config._attn_implementation == SDPA and heads_per_key(config) > 1


@contextmanager
def grouping(config: PreTrainedConfig) -> Iterator[None]:
    """Have the backbone of a configuration attend so for a while; other threads may, too."""
    config._attn_implementation = GROUPED
    try:
        yield
    finally:
        config._attn_implementation = SDPA
