"""The tokens of one forward, column by column: the engine packs them, the runner runs them, the cache stores them.

Queries of all requests stand one after another, without padding; the labels keep requests apart:

    request      0    0    0  |  1    1          segments: rows 0-2 attend to slots of request 0, rows 3-4 to those of 1
    token_ids    7   31   64  | 12   80
    slots        0    1    2  |  3    5          where their keys and values are stored
    position     0    1    2  |  0    1          ... and document, span, round and stream (visibility.py)
    wanted                ^             ^        rows 2 and 4: their logits are drawn from
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

import torch

from ..visibility import CLEAN
from .live_request import LiveRequest
from .sampling import Draft, RowGroup
from .scores import SCORES
from .slots import SlotTable
from .tensors import table_of_integers


@dataclass(frozen=True)
class Layout:
    """Where the N tokens of a forward lie, and the labels that decide what they see; one column per field.

    Token ids are not part of it: while blanks are filled they change at every step and the layout does not, and a
    forward whose layout is that of the forward before needs no new mask and no new labels in the cache.
    """

    slots: list[int]
    documents: list[int]
    spans: list[int]
    rounds: list[int]
    streams: list[int]
    positions: list[int]

    def columns(self) -> tuple[list[int], ...]:
        """Return the slots, then the labels in the order of `visibility.Labels`."""
        return self.slots, self.documents, self.spans, self.rounds, self.streams, self.positions

    def table(self, device: torch.device) -> torch.Tensor:
        """Return the columns as int64 [6, N] on a device."""
        return table_of_integers(self.columns(), device)


@dataclass(frozen=True)
class Segment:
    """Consecutive rows of a packed forward and the slots that they may attend to."""

    rows: range
    slots: Collection[int]


@dataclass(frozen=True)
class Packed:
    """One forward of N tokens.

    Attributes:
        token_ids: N ids.
        layout: where they lie and what they see.
        segments: the rows of each request in turn, with every slot that the request holds.
        wanted: rows whose logits are needed, W of the N.
    """

    token_ids: list[int]
    layout: Layout
    segments: list[Segment]
    wanted: list[int]

    def __len__(self) -> int:
        return len(self.token_ids)

    def padded(self, width: int) -> "Packed":
        """Repeat the last row up to `width` rows. Copies write the same state to the same slot; no output is read."""
        more = width - len(self)
        layout = Layout(*(column + column[-1:] * more for column in self.layout.columns()))
        return replace(self, token_ids=self.token_ids + self.token_ids[-1:] * more, layout=layout)


def pack(requests: Sequence[LiveRequest], slots: SlotTable) -> Packed:
    """Pack the queries of requests into one forward over their slots.

    States that a query forgets give their slots back first; tokens that run for the first time take new ones.
    """
    packed = Packed(token_ids=[], layout=Layout([], [], [], [], [], []), segments=[], wanted=[])
    layout = packed.layout
    for request in requests:
        query, document, start = request.query, request.document, len(packed)
        count = len(query.token_ids)
        streams = query.streams or [CLEAN] * count
        if query.forget:
            slots.drop(document, query.forget)
        # Whole columns at a time: a Python loop over tokens would cost more than the rest of the tick.
        packed.token_ids.extend(query.token_ids)
        layout.slots.extend(slots.place(document, streams, query.positions))
        layout.documents.extend([document] * count)
        layout.spans.extend(query.spans)
        layout.rounds.extend(query.rounds)
        layout.streams.extend(streams)
        layout.positions.extend(query.positions)
        # All slots of the request, not those of its span: what a span cannot see is up to the mask.
        packed.segments.append(Segment(range(start, start + count), slots.held_by(document)))
        packed.wanted.extend([start + row for row in query.wanted])
    return packed


def group_rows(requests: Sequence[LiveRequest]) -> list[RowGroup]:
    """Group the wanted rows of all queries by how they are drawn; a query with `keep` starts a new draft."""
    groups, start = [], 0
    for request in requests:
        query, sampling = request.query, request.sampling
        if query.keep:
            request.draft = Draft()
        draft = request.draft if query.keep or query.mix is not None else None
        # The request's score orders blanks; rows with any other purpose are scored by their probability.
        score = SCORES[sampling.score if query.purpose == "denoising" else "confidence"]
        predicted = tuple(query.positions[row] + 1 for row in query.wanted)
        for rows, allowed in query.alike():
            group = RowGroup(
                rows=range(start + rows.start, start + rows.stop),
                sampling=sampling,
                allowed=allowed,
                score=score,
                noise=request.noise,
                process=query.process,
                draft=draft,
                mix=query.mix,
                positions=predicted[rows.start : rows.stop] if query.by_position else (),
            )
            groups.append(group.greedy() if rows.start >= len(query.wanted) - query.drafts else group)
        start += len(query.wanted)
    return groups
