"""Attention of a packed forward in parts: what rows cannot see is not computed.

A packed forward of N tokens over S slots asks for N x S pairs, although a token sees its own request alone, and in a
span only that and what is outside of spans: of eight equal requests that fill at the same time, seven eighths of the
pairs are of no use, and of six equal spans about half of the rest.

        slots  a a b a b b c            a   a a a  |  c   c
    a   #  #  .  #  .  .  .             #  #  #    |  #         parts of like size as one batch over gathered slots,
    a   #  #  .  #  .  .  .      ->     #  #  #    |            padded; others, such as `c`, in a batch of their own
    b   .  .  #  .  #  #  .             ---------
    c   .  .  .  .  .  .  #             b   b b b
                                        #  #  #

The model is not told: it hands its mask to `scaled_dot_product_attention`, and the mask knows how to do that.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import groupby

import torch
from torch.nn.functional import scaled_dot_product_attention
from torch.utils._pytree import tree_map

from ..visibility import CLEAN, NO_SPAN, Labels, additive_mask, dense_mask
from .tensors import integers, table_of_integers

# What takes as long as so many pairs of one forward, measured on CPUs with 4 to 14 heads of 64
# (benchmarks/results/profile.md). Kernels of other devices are not measured.
PAIRS_OF_PARTS = 8192  # working them out, and putting their rows together again
PAIRS_PER_BATCH = 4096  # a call
PAIRS_PER_PART = 512
PAIRS_PER_SLOT = 4  # its gathering
ROWS_ARE_EVEN = 2  # bfloat16 takes twice as long for one row as for two


@dataclass(frozen=True)
class Part:
    """Rows of a packed forward, one after another, and the slots among which is all that they see."""

    rows: range
    slots: Collection[int]

    @property
    def cost(self) -> int:
        """In pairs, of attending by itself."""
        return PAIRS_PER_PART + (len(self.rows) + PAIRS_PER_SLOT) * len(self.slots)


def by_span(request: Part, slots: list[int], spans: list[int], rounds: list[int], streams: list[int]) -> list[Part]:
    """A request's rows span by span, where that costs less; the columns are those of the whole forward.

    What a span cannot see is what runs along of other spans of its round, or of a later one.
    """
    rows = slice(request.rows.start, request.rows.stop)
    if request.cost < PAIRS_OF_PARTS or any(stream != CLEAN for stream in streams[rows]):
        return [request]
    runs, stop = [], rows.start
    for span, run in groupby(spans[rows]):
        start, stop = stop, stop + len(list(run))
        runs.append((span, range(start, stop)))
    parts = []
    for span, run in runs:
        hidden = {
            slot
            for other, theirs in runs
            if NO_SPAN != span != other != NO_SPAN and rounds[theirs.start] >= rounds[run.start]
            for slot in slots[theirs.start : theirs.stop]
        }
        parts.append(Part(run, [slot for slot in request.slots if slot not in hidden]))
    return parts if sum(part.cost for part in parts) < request.cost else [request]


def in_batches(parts: Sequence[Part]) -> list[list[Part]]:
    """Parts that attend together: those of like size, as long as padding costs less than a further call."""
    batches: list[list[Part]] = []
    pairs = longest = 0
    for part in sorted(parts, key=lambda part: (len(part.rows), len(part.slots))):
        rows, slots = len(part.rows), len(part.slots)
        joined = (len(batches[-1]) + 1) * rows * max(longest, slots) if batches else 0
        if batches and joined <= pairs + rows * slots + PAIRS_PER_BATCH:
            batches[-1].append(part)
            pairs, longest = joined, max(longest, slots)
        else:
            batches.append([part])
            pairs, longest = rows * slots, slots
    return batches


def pays(parts: Sequence[Part], used: int) -> bool:
    """Whether a CPU attends faster in parts than with all rows at once over `used` slots."""
    rows = parts[-1].rows.stop if parts else 0
    if rows < 2:  # of a single row transformers may make several, which share its mask
        return False
    return rows * used > PAIRS_OF_PARTS + PAIRS_PER_BATCH + sum(part.cost for part in parts)


def mask_in_parts(query: Labels, key: Labels, parts: Sequence[Part]) -> "MaskInParts":
    """The mask [1, 1, N, S] of labels [1, N] and [1, S]; the parts cover the N rows."""
    device, count = query.span.device, query.span.shape[1]
    mask = torch.zeros((), dtype=torch.bool, device=device).expand(1, 1, count, key.span.shape[1])
    mask = mask.as_subclass(MaskInParts)
    mask.query, mask.key, mask.visible, mask.slots, mask.found = query, key, [], [], {}
    asking, asked = query.stacked()[:, 0], key.stacked()[:, 0]  # [5, N], [5, S]
    every_row, places, filled = [], [0] * count, 0
    for batch in in_batches(parts):
        rows = table_of_integers(_padded([part.rows for part in batch], ROWS_ARE_EVEN), device)
        slots = table_of_integers(_padded([[*part.slots] for part in batch]), device)
        visible = dense_mask(Labels(*asking[:, rows]), Labels(*asked[:, slots]))
        held = integers([len(part.slots) for part in batch], device)[:, None, None]
        visible &= torch.arange(slots.shape[1], device=device) < held  # what pads is there already
        mask.visible.append(visible[:, None])
        mask.slots.append(slots)
        every_row.append(rows.flatten())
        for part in batch:
            places[part.rows.start : part.rows.stop] = range(filled, filled + len(part.rows))
            filled += rows.shape[1]
    mask.rows, mask.places = torch.cat(every_row), integers(places, device)
    return mask


def _padded(lists: Sequence[Sequence[int]], multiple: int = 1) -> list[list[int]]:
    """Lists of one length, which is a multiple of so many; the last entry of each is repeated."""
    longest = -(-max(map(len, lists)) // multiple) * multiple
    return [[*entries, *[entries[-1]] * (longest - len(entries))] for entries in lists]


ANSWERED_WITHOUT_CONTENTS = (
    torch.Tensor.shape.__get__,
    torch.Tensor.dtype.__get__,
    torch.Tensor.device.__get__,
    torch.Tensor.ndim.__get__,
    torch.Tensor.dim,
    torch.Tensor.size,
)


class MaskInParts(torch.Tensor):
    """A mask [1, 1, N, S] without contents: `scaled_dot_product_attention` goes by its parts.

    Whatever else is asked of it is done to the dense mask that it stands for.

    Attributes:
        query, key: labels [1, N], [1, S].
        rows: of all batches one after another, padding included, int64 [P].
        slots, visible: of each batch of D parts, int64 [D, K] and bool [D, 1, R, K].
        places: for each of the N rows one of the P that hold it, int64 [N].
        found: what every layer asks for again: additive masks by type, indices by shape.
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
        attended = [
            scaled_dot_product_attention(*states, attn_mask=mask, **options).transpose(1, 2).flatten(0, 1)
            for *states, mask in zip(
                self._queries(query), self._states(key), self._states(value), self._masks(query.dtype), strict=True
            )
        ]
        return torch.cat(attended).index_select(0, self.places).transpose(0, 1)[None]

    def _queries(self, query: torch.Tensor) -> list[torch.Tensor]:
        """[D, heads, R, size] of each batch."""
        rows = query[0].transpose(0, 1).index_select(0, self.rows)
        shapes = [(visible.shape[0], visible.shape[2]) for visible in self.visible]
        parts = rows.split([count * length for count, length in shapes])
        return [part.unflatten(0, shape).transpose(1, 2) for part, shape in zip(parts, shapes, strict=True)]

    def _states(self, states: torch.Tensor) -> list[torch.Tensor]:
        """[D, heads, K, size] of each batch, from keys or values [1, heads, S, size].

        Gathered from one table of all heads' slots: four times as fast as `index_select` in the third dimension.
        """
        _, heads, count, size = states.shape
        if states.stride()[2:] != (size, 1) or states.stride(1) % size:
            states = states.contiguous()
        between = states.stride(1) // size  # lines of the table from a head to the next
        table = states.as_strided(((heads - 1) * between + count, size), (size, 1))
        lines = table.index_select(0, self._indices(heads, between))
        parts = lines.split([heads * slots.numel() for slots in self.slots])
        return [part.view(len(slots), heads, -1, size) for part, slots in zip(parts, self.slots, strict=True)]

    def _masks(self, dtype: torch.dtype) -> list[torch.Tensor]:
        """Additive, of each batch; a bool one would be made so in every layer."""
        if dtype not in self.found:
            self.found[dtype] = [additive_mask(visible, dtype) for visible in self.visible]
        return self.found[dtype]

    def _indices(self, heads: int, between: int) -> torch.Tensor:
        """Lines of the table in `_states`: every slot of every head, part by part."""
        if (heads, between) not in self.found:
            starts = between * torch.arange(heads, device=self.rows.device)[:, None]
            self.found[heads, between] = torch.cat([(slots[:, None] + starts).flatten() for slots in self.slots])
        return self.found[heads, between]


def _plain(argument):
    return argument.dense() if isinstance(argument, MaskInParts) else argument
