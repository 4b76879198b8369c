"""The engine: packs the queries of all live requests into one forward, and hands each its rows. It knows no algorithm.

    tick:  pack      queries -> ids, positions, labels, slots [N] (no padding: documents are kept apart by visibility)
           run       backbone on [1, N] over the slot cache; the head on the W wanted rows only (runner.py)
           draw      all W rows in one go; one copy to the host
           hand out  each request gets its rows and goes on to its next query; events are collected on the way

A decoder is a generator (decoders/): requests that plan, fill and decode share a forward, finished ones leave, waiting
ones join at the next tick. Queries for an assistant model share a forward of that model in the same way. Requests whose
prompts begin alike run that beginning once, and a long prompt runs in parts (prefix.py).
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import accumulate

import torch

from .generation_events import EVENTS, Ended, Failed, Forward
from .generation_query import Query, Reply, Sampling
from .generation_visibility import CLEAN
from .generation_engine_attention_cpu import Part
from .generation_engine_prefix import WORTH_SHARING, causal_prefix, common, in_two, without_first
from .generation_engine_runner import Runner
from .generation_engine_sampling import AllowedTable, Draft, RowGroup, draw, in_vocabulary
from .generation_engine_scores import SCORES

LIVE_REQUESTS = 64  # more wait: a forward of a few hundred tokens fills the machine, wider ones only take memory
TOKENS_PER_FORWARD = 4096  # a mask has as many rows; a longer prompt runs in parts, and so do many that come together


@dataclass
class _Live:
    """A request in the engine: its generator, the query it waits on, and where its states lie.

    slots: of (stream, position), in the model's cache and in the assistant's.
    draft: the rows of its last query that asked to keep them.
    prefix: its first tokens, whose states others may take over once they have run.
    has_run: its first query has run, to the last token.
    turn: the tick in which it last ran, 0 before it has.
    rest: what is left of a query that runs in parts.
    """

    document: int
    decoder: Iterator
    sampling: Sampling
    noise: torch.Generator | None
    query: Query | None = None
    slots: tuple[dict[tuple[int, int], int], ...] = field(default_factory=lambda: ({}, {}))
    draft: Draft | None = None
    prefix: list[int] = field(default_factory=list)
    has_run: bool = False
    turn: int = 0
    rest: Query | None = None


def fitting(asking: list[_Live]) -> list[_Live]:
    """Those whose turn it is in a forward, who has waited longest first; one that is wider runs without others.

    They come by purpose: neighbours that are drawn alike are drawn in one go.
    """
    by_turn = sorted(asking, key=lambda request: request.turn)
    widths = accumulate(len(request.query.token_ids) for request in by_turn)
    fit = [request for request, width in zip(by_turn, widths, strict=True)
           if width <= TOKENS_PER_FORWARD or request is by_turn[0]]  # fmt: skip
    return sorted(fit, key=lambda request: request.query.purpose)


class Engine:
    """Runs decoders over one model.

    Args:
        model: a `PlannedDiffusionForCausalLM`.
        live_requests: how many requests may share a forward; more wait their turn.
        assistant: a causal language model with the same token ids, for decoders whose drafts it scores.
        compile_config: a `CompileConfig` of transformers: the models run compiled.
    """

    def __init__(self, model, live_requests: int = LIVE_REQUESTS, assistant=None, compile_config=None):
        self.live_requests = live_requests
        self.runners = [Runner(one, compile_config) for one in (model, assistant) if one is not None]
        self.cache = self.runners[0].cache
        self.device = self.runners[0].device
        self.vocabulary = model.get_output_embeddings().weight.shape[0]
        self.table = AllowedTable(self.device)
        self._live: dict[int, _Live] = {}
        self._waiting: deque[tuple[int, Iterator, Sampling]] = deque()
        self._events: deque[tuple[int, object]] = deque()  # what happened and was not told yet
        self._next_document = 0
        self._ticks = 0

    def add(self, decoder: Iterator, sampling: Sampling) -> int:
        """Queues a request; returns the number under which its events come."""
        document, self._next_document = self._next_document, self._next_document + 1
        self._waiting.append((document, decoder, sampling))
        return document

    def cancel(self, document: int) -> None:
        """Drops a request, live or waiting; its slots are free at once, and none of its events comes any more."""
        self._waiting = deque(entry for entry in self._waiting if entry[0] != document)
        self._events = deque(entry for entry in self._events if entry[0] != document)
        if document in self._live:
            self._leave(self._live[document])

    def run(self) -> Iterator[tuple[int, object]]:
        """Yields (request, event) until every request has ended; raises what a request dies of.

        It may be left anywhere and run again, also after an error: the others go on.
        """
        while self._waiting or self._live or self._events:
            for number, event in self.tick():
                if isinstance(event, Failed):
                    raise event.error
                yield number, event

    def tick(self) -> Iterator[tuple[int, object]]:
        """One forward for all live requests, as far as it can hold them; yields what came of it as (request, event).

        A request that raises an error ends in `Failed`, and the others go on. All of it has happened before the first
        event comes; what a reader leaves unread is what the next tick yields.
        """
        if not self._events:
            self._step()
        while self._events:
            yield self._events.popleft()

    def _step(self) -> None:
        self._ticks += 1
        while self._waiting and len(self._live) < self.live_requests:
            self._admit(*self._waiting.popleft())
        ready = [request for request in self._live.values() if request.turn or not self._waits(request)]
        of_runners = [[request for request in ready if request.query.runner == index] for index in range(2)]
        for index, asking in enumerate(of_runners):
            asking = fitting(asking)
            for request in asking:
                request.query, request.rest = in_two(request.query, TOKENS_PER_FORWARD)
            if asking:
                self._answer(asking, self._draw(asking, self._run(index, asking)))

    def _waits(self, request: _Live) -> bool:
        """Whether a new request's first tokens are about to run for another; if they have run, takes their states."""
        if request.query.runner == 0:
            request.prefix = request.prefix or causal_prefix(request.query)
        if len(request.prefix) < WORTH_SHARING or request.query.positions[0] > 0:  # it has taken some already
            return False
        earlier = [other for other in self._live.values() if other.document < request.document and other.prefix]
        donor = max(earlier, key=lambda other: common(other.prefix, request.prefix), default=None)
        count = 0 if donor is None else common(donor.prefix, request.prefix)
        if count < WORTH_SHARING:
            return False
        if donor.has_run:
            states = [(CLEAN, position) for position in range(count)]
            source = [donor.slots[0][state] for state in states]
            self.cache.copy(source, self._slots(0, request, states), request.document)
            request.query = without_first(request.query, count)
        return not donor.has_run

    def _answer(self, asking: list[_Live], drawn: list[list[float]]) -> None:
        """Hands the drawn rows out; each request goes on to its next query, or to its end."""
        start = 0
        for request in asking:
            query, rows = request.query, slice(start, start + len(request.query.wanted))
            request.turn = self._ticks
            start = rows.stop
            self._events.append((request.document, Forward(query.purpose, len(query.token_ids), query.commits)))
            if request.rest is not None:
                request.query = request.rest
                continue
            request.has_run = True
            tokens, scores, confidences = (row[rows] for row in drawn)
            self._advance(request, Reply(list(map(int, tokens)), scores, confidences))

    def _admit(self, document: int, decoder: Iterator, sampling: Sampling) -> None:
        noise = None
        if sampling.temperature > 0:
            noise = torch.Generator(self.device).manual_seed(sampling.seed)
        request = self._live[document] = _Live(document, decoder, sampling, noise)
        self._advance(request, None)

    def _advance(self, request: _Live, reply: Reply | None) -> None:
        """Hands a reply over and collects the request's events up to its next query, or its end."""
        while request.document in self._live:
            try:
                item = request.decoder.send(reply)
            except Exception as error:  # a stopping criterion's, say; it is the caller's to raise
                item = Failed(error)
            reply = None
            if not isinstance(item, EVENTS):
                request.query = item
                return
            self._events.append((request.document, item))
            if isinstance(item, (Ended, Failed)):
                self._leave(request)

    def _leave(self, request: _Live) -> None:
        del self._live[request.document]
        request.decoder.close()
        for runner, slots in zip(self.runners, request.slots, strict=False):
            runner.cache.release(list(slots.values()))

    def _run(self, index: int, asking: list[_Live]) -> torch.Tensor:
        """One forward of a model over the tokens of all queries; the logits of the wanted rows, [W, V]."""
        packed, requests, wanted, tokens = [[] for _ in range(7)], [], [], 0
        for request in asking:
            query = request.query
            count = len(query.token_ids)
            if query.forget:
                self._forget(index, request, query.forget)
            streams = query.streams or [CLEAN] * count
            columns = (
                query.token_ids,
                self._slots(index, request, list(zip(streams, query.positions, strict=True))),
                [request.document] * count,
                query.spans,
                query.rounds,
                streams,
                query.positions,
            )
            for column, more in zip(packed, columns, strict=True):
                column += more
            requests.append(Part(range(tokens, tokens + count), request.slots[index].values()))
            wanted += [tokens + row for row in query.wanted]
            tokens += count
        logits = self.runners[index].logits(packed, requests, wanted)
        return in_vocabulary(logits, self.vocabulary).to(self.device)

    def _forget(self, index: int, request: _Live, positions: list[int]) -> None:
        slots = request.slots[index]
        self.runners[index].cache.release([slots.pop((CLEAN, position)) for position in positions])

    def _slots(self, index: int, request: _Live, states: list[tuple[int, int]]) -> list[int]:
        """The slots of states (stream, position); fresh ones for those that were never run."""
        slots = request.slots[index]
        found = list(map(slots.get, states))
        if None in found:
            missing = [state for state in states if state not in slots]
            slots |= zip(missing, self.runners[index].cache.allocate(len(missing)), strict=True)
            found = list(map(slots.get, states))
        return found

    def _draw(self, asking: list[_Live], logits: torch.Tensor) -> list[list[float]]:
        """Tokens, scores and confidences of the wanted rows, on the host."""
        groups, owners, start = [], [], 0
        for request in asking:
            query = request.query
            score = SCORES[request.sampling.score if query.purpose == "denoising" else "confidence"]
            if query.keep:
                request.draft = Draft()
            draft = request.draft if query.keep or query.mix is not None else None
            for rows, allowed in query.alike():
                rows = range(start + rows.start, start + rows.stop)
                given = (request.sampling, allowed, score, request.noise, query.process, draft, query.mix)
                groups.append(RowGroup(rows, *given))
            owners += [(request, row) for row in query.wanted]
            start += len(query.wanted)
        drawn = draw(logits, groups, self.table).tolist()
        self._refuse_nan(drawn[2], owners)
        return drawn

    def _refuse_nan(self, confidences: list[float], owners: list[tuple[_Live, int]]) -> None:
        bad = next((row for row, value in enumerate(confidences) if value != value), None)
        if bad is None:
            return
        request, row = owners[bad]
        position = request.query.positions[row] + 1
        raise FloatingPointError(
            f"The model's logits are NaN at position {position} of request {request.document} while "
            f"{request.query.purpose}; check the checkpoint's weights, or load it in bfloat16 or float32 if it runs in "
            "float16."
        )
