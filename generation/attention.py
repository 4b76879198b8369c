"""Attention of packed requests, document by document: what different requests would show each other is not computed.

A packed forward of N tokens over S slots asks for N x S pairs, although a token sees its own request alone: of eight
equal requests that fill at the same time, seven eighths of the pairs are of no use.

        slots  a a b a b b c            a   a a a  |  b   b b b  |  c   c
    a   #  #  .  #  .  .  .             #  #  #    |             |            three small attentions over gathered
    a   #  #  .  #  .  .  .      ->     #  #  #    |  #  #  #    |  #         slots in place of a large one
    b   .  .  #  .  #  #  .
    c   .  .  .  .  .  .  #

The model is not told: it hands its mask to `scaled_dot_product_attention`, and the mask knows how to do that.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch.nn.functional import scaled_dot_product_attention
from torch.utils._pytree import tree_map

from .visibility import Labels, dense_mask

# A call for each document, and a gathering of its slots, take as long as so many pairs: measured on one thread of a CPU
# with 4 to 14 heads of 64 (benchmarks/results/profile.md). Kernels of other devices are not measured.
PAIRS_PER_DOCUMENT = 4096
PAIRS_PER_SLOT = 8


@dataclass(frozen=True)
class Document:
    """Where a request lies in a packed forward: its rows, one after another, and its slots, wherever they are."""

    rows: range
    slots: Sequence[int]


def pays(documents: Sequence[Document], used: int) -> bool:
    """Whether a CPU attends faster document by document than at once over `used` slots."""
    if len(documents) == 1:
        return False
    rows = documents[-1].rows.stop
    saved = rows * used - sum(len(document.rows) * len(document.slots) for document in documents)
    slots = sum(len(document.slots) for document in documents)
    return saved > PAIRS_PER_DOCUMENT * len(documents) + PAIRS_PER_SLOT * slots


def mask_by_document(query: Labels, key: Labels, documents: Sequence[Document]) -> "DocumentMask":
    """The mask [1, 1, N, S] of labels [1, N] and [1, S]; the documents cover the N rows in order."""
    device, blocks = query.span.device, []
    rows, slots = (
        torch.tensor(_padded(lists)).to(device)  # [D, most of a document]; what pads is cut off again
        for lists in ([list(one.rows) for one in documents], [list(one.slots) for one in documents])
    )
    visible = dense_mask(query.each(lambda label: label[0, rows]), key.each(lambda label: label[0, slots]))
    for index, one in enumerate(documents):
        count = len(one.slots)
        keys = range(index * slots.shape[1], index * slots.shape[1] + count)
        blocks.append((slice_of(one.rows), slice_of(keys), visible[None, None, index, : len(one.rows), :count]))
    shape = (1, 1, query.span.shape[1], key.span.shape[1])
    mask = torch.zeros((), dtype=torch.bool, device=device).expand(shape).as_subclass(DocumentMask)
    mask.query, mask.key, mask.gathered, mask.blocks = query, key, slots.flatten(), blocks
    return mask


def slice_of(indices: range) -> slice:
    return slice(indices.start, indices.stop)


def _padded(lists: list[list[int]]) -> list[list[int]]:
    """Lists of one length; the last entry is repeated."""
    longest = max(map(len, lists))
    return [entries + entries[-1:] * (longest - len(entries)) for entries in lists]


ANSWERED_WITHOUT_CONTENTS = (
    torch.Tensor.shape.__get__,
    torch.Tensor.dtype.__get__,
    torch.Tensor.device.__get__,
    torch.Tensor.ndim.__get__,
    torch.Tensor.dim,
    torch.Tensor.size,
)


class DocumentMask(torch.Tensor):
    """A mask [1, 1, N, S] without contents: `scaled_dot_product_attention` goes by its documents.

    Whatever else is asked of it is done to the dense mask that it stands for.

    Attributes:
        query, key: labels [1, N], [1, S].
        gathered: slots of all documents side by side, int64 [G].
        blocks: per document the slices of the N rows and of `gathered`, and their bool mask [1, 1, rows, slots].
    """

    @classmethod
    def __torch_function__(cls, function, types, args=(), kwargs=None):
        options = dict(kwargs or {})
        if function is scaled_dot_product_attention and isinstance(options.get("attn_mask"), cls):
            return options.pop("attn_mask").attend(*args, **options)
        if function in ANSWERED_WITHOUT_CONTENTS:
            return super().__torch_function__(function, types, args, options)
        return function(*tree_map(_plain, args), **tree_map(_plain, options))

    def dense(self) -> torch.Tensor:
        """The bool mask [1, 1, N, S] in full."""
        return dense_mask(self.query, self.key)[:, None]

    def attend(self, query, key, value, **options) -> torch.Tensor:
        """Attention of queries [1, heads, N, size] over keys and values [1, heads, S, size]."""
        key, value = key.index_select(2, self.gathered), value.index_select(2, self.gathered)
        attended = [
            scaled_dot_product_attention(
                query[:, :, rows], key[:, :, slots], value[:, :, slots], attn_mask=visible, **options
            )
            for rows, slots, visible in self.blocks
        ]
        return torch.cat(attended, dim=2)


def _plain(argument):
    return argument.dense() if isinstance(argument, DocumentMask) else argument
