"""The engine: packs the queries of all live requests into one forward, and hands each its rows. It knows no algorithm.

    tick:  pack      queries -> ids, positions, labels, slots [N] (no padding: documents are kept apart by visibility)
           run       backbone on [1, N] over the slot cache; the head on the W wanted rows only
           draw      all W rows in one go; one copy to the host
           hand out  each request gets its rows and goes on to its next query; events are collected on the way

A decoder is a generator (decoders/): requests that plan, fill and decode share a forward, finished ones leave, waiting
ones join at the next tick.
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field

import torch

from .generation_cache import SlotCache
from .generation_query import Query, Reply, Sampling
from .generation_sampling import AllowedTable, RowGroup, draw
from .generation_trace import EVENTS, Ended, Forward
from .generation_unmasking import SCORES
from .generation_visibility import CLEAN, Labels, attention_mask

LIVE_REQUESTS = 64  # more wait: a forward of a few hundred tokens fills the machine, wider ones only take memory


@dataclass
class _Live:
    """A request in the engine: its generator, the query it waits on, and the slots of its positions."""

    document: int
    decoder: Iterator
    sampling: Sampling
    noise: torch.Generator | None
    query: Query | None = None
    slots: list[int] = field(default_factory=list)


class Engine:
    """Runs decoders over one model.

    Args:
        model: a `PlannedDiffusionForCausalLM` (its `model` is run, its `lm_head` applied to the wanted rows).
        live_requests: how many requests may share a forward; more wait their turn.
    """

    def __init__(self, model, live_requests: int = LIVE_REQUESTS):
        self.model = model
        self.device = model.get_input_embeddings().weight.device
        self.implementation = model.model.config._attn_implementation
        self.live_requests = live_requests
        self.cache = SlotCache(self.device)
        self.table = AllowedTable(self.device)
        self._live: dict[int, _Live] = {}
        self._waiting: deque[tuple[int, Iterator, Sampling]] = deque()
        self._next_document = 0

    def add(self, decoder: Iterator, sampling: Sampling) -> int:
        """Queues a request; returns the number under which its events come."""
        document, self._next_document = self._next_document, self._next_document + 1
        self._waiting.append((document, decoder, sampling))
        return document

    def cancel(self, document: int) -> None:
        """Drops a request, live or waiting; its slots are free at once."""
        self._waiting = deque(entry for entry in self._waiting if entry[0] != document)
        if document in self._live:
            self._leave(self._live[document])

    def run(self) -> Iterator[tuple[int, object]]:
        """Yields (request, event) until every request has ended."""
        while self._waiting or self._live:
            yield from self.tick()

    def tick(self) -> Iterator[tuple[int, object]]:
        """One forward for all live requests; yields what came of it as (request, event)."""
        while self._waiting and len(self._live) < self.live_requests:
            yield from self._admit(*self._waiting.popleft())
        live = list(self._live.values())
        if not live:
            return
        drawn = self._draw(live, self._run(live))
        start = 0
        for request in live:
            query, rows = request.query, slice(start, start + len(request.query.wanted))
            start = rows.stop
            if request.document not in self._live:  # cancelled by whoever reads the events
                continue
            yield request.document, Forward(query.purpose, len(query.token_ids), query.commits)
            tokens, scores, confidences = (row[rows] for row in drawn)
            yield from self._advance(request, Reply([int(token) for token in tokens], scores, confidences))

    def _admit(self, document: int, decoder: Iterator, sampling: Sampling):
        noise = None
        if sampling.temperature > 0:
            noise = torch.Generator(self.device).manual_seed(sampling.seed)
        request = self._live[document] = _Live(document, decoder, sampling, noise)
        yield from self._advance(request, None)

    def _advance(self, request: _Live, reply: Reply | None):
        """Hands a reply over and yields the request's events up to its next query, or its end."""
        while request.document in self._live:  # a reader may cancel between any two events
            item = request.decoder.send(reply)
            reply = None
            if not isinstance(item, EVENTS):
                request.query = item
                return
            if isinstance(item, Ended):
                self._leave(request)
            yield request.document, item

    def _leave(self, request: _Live) -> None:
        del self._live[request.document]
        request.decoder.close()
        self.cache.release(request.slots)

    def _run(self, live: list[_Live]) -> torch.Tensor:
        """One forward over the tokens of all queries; the hidden states of the wanted rows, [W, H]."""
        packed, wanted, tokens = [[] for _ in range(7)], [], 0
        for request in live:
            query = request.query
            missing = query.positions[-1] + 1 - len(request.slots)
            if missing > 0:
                request.slots += self.cache.allocate(missing)
            count = len(query.token_ids)
            columns = (
                query.token_ids,
                [request.slots[position] for position in query.positions],
                [request.document] * count,
                query.spans,
                query.rounds,
                [CLEAN] * count,
                query.positions,
            )
            for column, more in zip(packed, columns, strict=True):
                column += more
            wanted += [tokens + index for index in query.wanted]
            tokens += count
        on_device = torch.tensor(packed).to(self.device, non_blocking=True)  # [7, N]
        token_ids, slots, labels = on_device[0], on_device[1], on_device[2:]
        self.cache.write_to(slots, labels)
        mask = attention_mask(
            Labels(*labels[:, None]),  # [1, N]
            self.cache.labels.each(lambda label: label[None]),  # [1, S]
            self.implementation,
            self.model.dtype,
        )
        hidden = self.model.model(
            input_ids=token_ids[None],
            position_ids=labels[-1][None],
            attention_mask=mask,
            past_key_values=self.cache,
            use_cache=True,
        ).last_hidden_state[0]  # [N, H]
        return hidden[torch.tensor(wanted).to(self.device, non_blocking=True)]

    def _draw(self, live: list[_Live], hidden: torch.Tensor) -> list[list[float]]:
        """Tokens, scores and confidences of the wanted rows, on the host."""
        groups, start = [], 0
        for request in live:
            rows = range(start, start + len(request.query.wanted))
            start = rows.stop
            query, score = request.query, SCORES[request.sampling.score]
            groups.append(RowGroup(rows, request.sampling, query.allowed, score, request.noise, query.process))
        drawn = draw(self.model.lm_head(hidden), groups, self.table).tolist()
        self._refuse_nan(drawn[2], live, groups)
        return drawn

    def _refuse_nan(self, confidences: list[float], live: list[_Live], groups: list[RowGroup]) -> None:
        bad = next((row for row, value in enumerate(confidences) if value != value), None)
        if bad is None:
            return
        request, group = next(pair for pair in zip(live, groups, strict=True) if bad in pair[1].rows)
        position = request.query.positions[request.query.wanted[bad - group.rows.start]] + 1
        raise FloatingPointError(
            f"The model's logits are NaN at position {position} of request {request.document} while "
            f"{request.query.purpose}; check the checkpoint's weights, or load it in bfloat16 or float32 if it runs in "
            "float16."
        )
