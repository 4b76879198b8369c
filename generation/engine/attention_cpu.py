"""CPU only (with sdpa): attention of a packed forward segment by segment, so that hidden pairs are not computed.

A packed forward of N tokens over S slots has N x S query-key pairs, although a token sees its own request alone, and in
a span only that span and what lies outside spans: of eight equal requests that fill at the same time, seven eighths of
the pairs are hidden, and of six equal spans about half of the rest. GPUs compute them faster than they skip them.

        slots  a a b a b b c            a   a a a  |  c   c
    a   #  #  .  #  .  .  .             #  #  #    |  #         segments of like size as one batch over gathered slots,
    a   #  #  .  #  .  .  .      ->     #  #  #    |            padded; others, such as `c`, in a batch of their own
    b   .  .  #  .  #  #  .             ---------
    c   .  .  .  .  .  .  #             b   b b b
                                        #  #  #

`segmented_mask` is the way in: it returns a mask, or None where one dense mask is as fast. The model is unaware: it
hands the mask to `scaled_dot_product_attention`, and the mask, a tensor subclass, computes the attention itself.

Where several heads share keys (grouped queries), the model repeats the keys for each of them. The mask gathers them
once, and the rows of those heads are rows of one product:

    model      9 heads x R rows, 9 heads of keys, of which three each are equal
    segment    3 heads x 3 R rows, 3 heads of keys
"""

from collections.abc import Callable, Sequence
from itertools import groupby
from typing import Any

import torch
from torch.nn.functional import scaled_dot_product_attention
from torch.utils._pytree import tree_map
from transformers import PreTrainedConfig

from ..visibility import CLEAN, NO_SPAN, Labels, additive_mask, dense_mask
from .packing import Layout, Packed, Segment
from .single_rows import heads_per_key
from .slot_gathering import SlotGathering
from .tensors import integers, table_of_integers

# Overheads, in the number of query-key pairs (of all heads) of one forward that take equally long: measured on CPUs
# with 4 to 14 heads of 64 (benchmarks/results/profile.md). A wrong value costs time, never correctness.
PAIRS_PER_FORWARD = 8192  # finding the segments, and putting their rows in order again
PAIRS_PER_BATCH = 4096  # a further call of scaled_dot_product_attention
PAIRS_PER_SEGMENT = 512
PAIRS_PER_SLOT = 4  # gathering its key and value
ROWS_ARE_EVEN = 2  # bfloat16 takes twice as long for one row as for two


def segmented_mask(query: Labels, key: Labels, packed: Packed, config: PreTrainedConfig) -> "SegmentedMask | None":
    """Return a mask [1, 1, N, S] of labels [1, N] and [1, S] that attends by segments; None where a dense one will do.

    On a CPU with sdpa it pays where requests or spans would compute many pairs that the other's labels hide.

    Args:
        config: the backbone's.
    """
    if query.span.device.type != "cpu" or config._attn_implementation != "sdpa":
        return None
    segments = [segment for request in packed.segments for segment in by_span(request, packed.layout)]
    return mask_of(query, key, segments, heads_per_key(config)) if pays(segments, key.span.shape[1]) else None


def cost(segment: Segment) -> int:
    """Return how long a segment takes to attend by itself, in pairs."""
    return PAIRS_PER_SEGMENT + (len(segment.rows) + PAIRS_PER_SLOT) * len(segment.slots)


def by_span(request: Segment, layout: Layout) -> list[Segment]:
    """Split a request's rows span by span, where that costs less.

    A span does not see tokens of other spans of its own or a later round that run in the same forward.
    """
    rows = slice(request.rows.start, request.rows.stop)
    # Copies in other streams see by further rules: not split.
    if cost(request) < PAIRS_PER_FORWARD or any(stream != CLEAN for stream in layout.streams[rows]):
        return [request]
    runs, stop = [], rows.start
    for span, run in groupby(layout.spans[rows]):
        start, stop = stop, stop + len(list(run))
        runs.append((span, range(start, stop)))
    segments = []
    for span, run in runs:
        hidden = _hidden_slots(span, run, runs, layout) if span != NO_SPAN else frozenset()
        segments.append(Segment(run, [slot for slot in request.slots if slot not in hidden]))
    return segments if sum(map(cost, segments)) < cost(request) else [request]


def _hidden_slots(span: int, run: range, runs: list[tuple[int, range]], layout: Layout) -> set[int]:
    """Return the slots of the other spans' rows in a forward that a span's rows do not see."""
    return {
        slot
        for other, theirs in runs
        if other not in (NO_SPAN, span) and layout.rounds[theirs.start] >= layout.rounds[run.start]
        for slot in layout.slots[theirs.start : theirs.stop]
    }


def pays(segments: Sequence[Segment], used: int) -> bool:
    """Return whether segments attend faster than all rows at once over `used` slots."""
    rows = segments[-1].rows.stop if segments else 0
    if rows < 2:  # transformers may expand a single row to several, which share its mask
        return False
    return rows * used > PAIRS_PER_FORWARD + PAIRS_PER_BATCH + sum(map(cost, segments))


def in_batches(segments: Sequence[Segment]) -> list[list[Segment]]:
    """Group segments of like size to attend together, as long as padding costs less than a further call."""
    batches: list[list[Segment]] = []
    pairs = longest = 0  # of the last batch, padding included; slots of its longest segment
    for segment in sorted(segments, key=lambda segment: (len(segment.rows), len(segment.slots))):
        rows, slots = len(segment.rows), len(segment.slots)
        joined = (len(batches[-1]) + 1) * rows * max(longest, slots) if batches else 0
        if batches and joined <= pairs + rows * slots + PAIRS_PER_BATCH:
            batches[-1].append(segment)
            pairs, longest = joined, max(longest, slots)
        else:
            batches.append([segment])
            pairs, longest = rows * slots, slots
    return batches


def mask_of(query: Labels, key: Labels, segments: Sequence[Segment], sharing: int = 1) -> "SegmentedMask":
    """Return the mask [1, 1, N, S] of labels [1, N] and [1, S]; the segments cover the N rows.

    Args:
        sharing: so many heads, one after another, have the same keys and values.
    """
    device, count = query.span.device, query.span.shape[1]
    row_labels, slot_labels = query.stacked()[:, 0], key.stacked()[:, 0]  # [5, N], [5, S]
    visible, gathered, every_row, places, filled = [], [], [], [0] * count, 0
    even = ROWS_ARE_EVEN if sharing == 1 else 1  # the rows of heads that share keys are several by themselves
    for batch in in_batches(segments):
        rows = table_of_integers(_padded([segment.rows for segment in batch], even), device)  # [D, R]
        slots = table_of_integers(_padded([[*segment.slots] for segment in batch]), device)  # [D, K]
        sees = dense_mask(Labels(*row_labels[:, rows]), Labels(*slot_labels[:, slots]))  # [D, R, K]
        held = integers([len(segment.slots) for segment in batch], device)[:, None, None]
        sees &= torch.arange(slots.shape[1], device=device) < held  # hide padding: it repeats a slot already listed
        visible.append(sees[:, None])
        gathered.append(slots)
        every_row.append(rows.flatten())
        for segment in batch:
            places[segment.rows.start : segment.rows.stop] = range(filled, filled + len(segment.rows))
            filled += rows.shape[1]
    mask = torch.zeros((), dtype=torch.bool, device=device).expand(1, 1, count, key.span.shape[1])
    mask = mask.as_subclass(SegmentedMask)
    mask.query, mask.key, mask.gathering, mask.visible = query, key, SlotGathering(gathered), visible
    mask.rows, mask.places = torch.cat(every_row), integers(places, device)
    mask.sharing, mask.additive = sharing, {}
    return mask


def _padded(lists: Sequence[Sequence[int]], multiple: int = 1) -> list[list[int]]:
    """Repeat the last entry of each list, up to one common length that is a multiple of so many."""
    longest = -(-max(map(len, lists)) // multiple) * multiple
    return [[*entries, *[entries[-1]] * (longest - len(entries))] for entries in lists]


# Properties that need no contents. Everything else asks for the dense mask, so a caller that we do not know of gets
# the right numbers, only slower.
ANSWERED_WITHOUT_CONTENTS = (
    *(getattr(torch.Tensor, name).__get__ for name in ("shape", "dtype", "device", "ndim")),
    torch.Tensor.dim,
    torch.Tensor.size,
)


class SegmentedMask(torch.Tensor):
    """A mask [1, 1, N, S] without contents: `scaled_dot_product_attention` goes by its segments.

    Every other operation is done on the dense mask that it stands for. It is a tensor subclass because the mask is the
    only object of ours that transformers passes to that function unchanged. An attention function of our own would have
    to be named in the config of the model, and the assistant's, and repeat what transformers does around the call.

    Attributes:
        query, key: labels [1, N], [1, S].
        rows: of all batches one after another, padding included, int64 [P].
        gathering: the slots of each batch of D segments with R rows and K slots.
        visible: what these rows see of them, bool [D, 1, R, K].
        places: for each of the N rows one of the P that hold it, int64 [N].
        sharing: so many heads, one after another, have the same keys and values: heads = sharing x heads of keys.
        additive: the batches' masks [D, 1, sharing x R, K] as floats, by dtype; made by the first layer, used by all.
    """

    query: Labels
    key: Labels
    rows: torch.Tensor
    gathering: SlotGathering
    visible: list[torch.Tensor]
    places: torch.Tensor
    sharing: int
    additive: dict[torch.dtype, list[torch.Tensor]]

    @classmethod
    def __torch_function__(
        cls, func: Callable, types: Sequence[type], args: tuple = (), kwargs: dict[str, Any] | None = None
    ) -> object:
        options = dict(kwargs or {})
        if func is scaled_dot_product_attention and isinstance(options.get("attn_mask"), cls) and len(args) == 3:
            return options.pop("attn_mask").attend(*args, options)
        if func in ANSWERED_WITHOUT_CONTENTS:
            return super().__torch_function__(func, types, args, options)
        return func(*tree_map(_plain, args), **tree_map(_plain, options))

    def dense(self) -> torch.Tensor:
        """Return the bool mask [1, 1, N, S] in full."""
        return dense_mask(self.query, self.key)[:, None]

    def attend(
        self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, options: dict[str, Any]
    ) -> torch.Tensor:
        """Attend with queries [1, heads, N, size], batch by batch.

        Keys and values are [1, heads, S, size], repeated for the heads that share them, or not yet repeated.
        """
        masks = self._additive(query.dtype)
        options.pop("enable_gqa", None)  # heads that share keys are rows here
        repeated = key.shape[1] * self.sharing // query.shape[1]  # 1 where the model left keys as they are
        states = (self.gathering.states(states[:, ::repeated]) for states in (key, value))
        batches = zip(self._queries(query), *states, masks, strict=True)
        attended = [
            self._rows_of(scaled_dot_product_attention(*batch, attn_mask=mask, **options)) for *batch, mask in batches
        ]
        return torch.cat(attended).index_select(0, self.places).transpose(0, 1)[None]

    def _queries(self, query: torch.Tensor) -> list[torch.Tensor]:
        """Gather the queries of each batch, [D, heads of keys, sharing x R, size]."""
        rows = query[0].transpose(0, 1).index_select(0, self.rows)  # [P, heads, size]
        shapes = [(visible.shape[0], visible.shape[2]) for visible in self.visible]
        batches = rows.split([count * length for count, length in shapes])
        return [
            batch.unflatten(1, (-1, self.sharing)).unflatten(0, shape).permute(0, 2, 3, 1, 4).flatten(2, 3)
            for batch, shape in zip(batches, shapes, strict=True)
        ]

    def _rows_of(self, attended: torch.Tensor) -> torch.Tensor:
        """Return what a batch [D, heads of keys, sharing x R, size] attended to row by row, [D * R, heads, size]."""
        return attended.unflatten(2, (self.sharing, -1)).permute(0, 3, 1, 2, 4).flatten(2, 3).flatten(0, 1)

    def _additive(self, dtype: torch.dtype) -> list[torch.Tensor]:
        """Return the mask of each batch in a float type, as torch would make it of a bool one in every layer."""
        if dtype not in self.additive:
            by_heads = (visible.repeat(1, 1, self.sharing, 1) for visible in self.visible)
            self.additive[dtype] = [additive_mask(visible, dtype) for visible in by_heads]
        return self.additive[dtype]


def _plain(argument: object) -> object:
    return argument.dense() if isinstance(argument, SegmentedMask) else argument
