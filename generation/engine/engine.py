"""The engine: a scheduler for requests that share the forwards of a model. It knows no algorithm.

A decoder (decoders/) is a generator that yields queries, tokens to run, and gets the tokens that were drawn. Requests
that plan, fill and decode share a forward; finished ones leave, waiting ones join at the next tick (continuous
batching). One tick:

    admit     waiting requests, up to `live_requests`; each decoder asks its first query
    select    the queries that fit into a forward; a long prompt runs in chunks (chunking.py), and prompts that begin
              alike run their beginning once (prefix.py)
    pack      queries -> ids, slots, labels [N], without padding: visibility keeps requests apart (packing.py)
    run       the transformer on [1, N] over the slot cache; the head on the W wanted rows only (runner.py)
    draw      all W rows in one go; one copy to the host (sampling.py, linked_guesses.py)
    hand out  each decoder gets its rows and goes on to its next query; events are collected on the way

Queries for an assistant model share forwards of that model in the same way, after those of the model itself.
"""

from collections import deque
from collections.abc import Iterator
from itertools import accumulate

import torch
from transformers import CompileConfig, PreTrainedModel

from ..events import Decoding, Ended, Event, Failed, Forward
from ..query import Lockstep, Query, Reply, Sampling
from .chunking import leading, split_query
from .guess_rows import room_for_guesses, row_costs
from .likelihoods import rows_scored
from .linked_guesses import draw_in_turn
from .live_request import LiveRequest
from .nan_rows import give_up_drafts, refuse_nan, spoilt_by_drafts
from .packing import pack
from .prefix import causal_prefix, should_wait_for_prefix, take_prefix_states
from .prompts_first import must_read_first
from .runner import Runner
from .sampling import AllowedTable, in_vocabulary, processed_scores

LIVE_REQUESTS = 64  # a forward of a few hundred tokens keeps the machine busy; wider ones only take memory
TOKENS_PER_FORWARD = 4096  # bounds the memory of a mask, which has a row per token


def select(asking: list[LiveRequest]) -> list[LiveRequest]:
    """Select the requests for the next forward, longest-waiting first. A query above the limit runs alone.

    Sorted by purpose, in whatever order, so that rows sampled alike are adjacent and are drawn in one go.
    """
    by_turn = sorted(asking, key=lambda request: request.turn)
    widths = accumulate(len(request.query.token_ids) for request in by_turn)
    selected = [
        request
        for request, width in zip(by_turn, widths, strict=True)
        if width <= TOKENS_PER_FORWARD or request is by_turn[0]
    ]
    return sorted(selected, key=lambda request: request.query.purpose)


class Engine:
    """The scheduler of decoders over one model.

    Args:
        model: a `PlannedDiffusionForCausalLM`.
        live_requests: how many requests may share a forward; others wait for a place.
        assistant: a causal language model with the same token ids, for decoders whose drafts it scores.
        compile_config: runs the models compiled.
        lockstep: of requests that draw every token in one forward, numbered as they are added; no others are added.

    Attributes:
        runners: of the model and, if there is one, the assistant: `Query.runner` is an index into them.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        live_requests: int = LIVE_REQUESTS,
        assistant: PreTrainedModel | None = None,
        compile_config: CompileConfig | None = None,
        lockstep: Lockstep | None = None,
    ) -> None:
        self.live_requests, self.lockstep = live_requests, lockstep
        self.runners = [Runner(one, compile_config) for one in (model, assistant) if one is not None]
        self.device = self.runners[0].device
        self.vocabulary = self.runners[0].head.weight.shape[0]
        self.table = AllowedTable(self.device)
        self._row_costs = row_costs(self.runners[0].backbone, self.runners[0].dtype, self.device.type)
        self._live: dict[int, LiveRequest] = {}
        self._waiting: deque[tuple[int, Decoding, Sampling]] = deque()
        self._events: deque[tuple[int, Event]] = deque()  # not read yet
        self._next_document = 0
        self._ticks = 0

    def add(self, decoder: Decoding, sampling: Sampling) -> int:
        """Queue a request; return the number under which its events come."""
        document, self._next_document = self._next_document, self._next_document + 1
        self._waiting.append((document, decoder, sampling))
        return document

    def cancel(self, document: int) -> None:
        """Drop a request, live or waiting. Its slots are free at once, and its unread events are dropped."""
        self._waiting = deque(entry for entry in self._waiting if entry[0] != document)
        self._events = deque(entry for entry in self._events if entry[0] != document)
        if document in self._live:
            self._leave(self._live[document])

    def run(self) -> Iterator[tuple[int, Event]]:
        """Yield (request, event) until every request has ended; raise the error of a request that failed.

        The iteration may stop anywhere and `run` be called again, also after an error: the other requests go on.
        """
        while self._waiting or self._live or self._events:
            for number, event in self.tick():
                if isinstance(event, Failed):
                    raise event.error
                yield number, event

    def tick(self) -> Iterator[tuple[int, Event]]:
        """Run one forward per model for as many requests as fit; yield the (request, event) pairs that came of it.

        A request that raises an error ends in `Failed`, and the others go on. The forward completes before the first
        event is yielded; unread events are yielded by the next tick, which then runs no forward.
        """
        if not self._events:
            self._step()
        while self._events:
            yield self._events.popleft()

    def _step(self) -> None:
        self._ticks += 1
        while self._waiting and (self.lockstep is not None or len(self._live) < self.live_requests):
            self._admit(*self._waiting.popleft())
        live = self._live.values()
        for request in live:
            take_prefix_states(request, live, self.runners[0].slots)
        # Grouped before the first forward runs: a request that the model answers asks the assistant in the next tick.
        asking: list[list[LiveRequest]] = [[] for _ in self.runners]
        for request in live:
            if not should_wait_for_prefix(request, live):
                asking[request.query.runner].append(request)
        for runner, of_runner in zip(self.runners, asking, strict=True):
            if of_runner:
                self._forward(runner, self._choose(of_runner))

    def _choose(self, asking: list[LiveRequest]) -> list[LiveRequest]:
        """Choose the requests of the next forward, and cut off what is too wide of their queries."""
        reading: list[LiveRequest] = []
        if self.lockstep is None:
            chosen = select(asking)
        else:
            reading = must_read_first(asking, self._live.values(), TOKENS_PER_FORWARD)
            chosen = select(reading) if reading else asking
        for request in chosen:
            most = min(TOKENS_PER_FORWARD, leading(request.query)) if reading else TOKENS_PER_FORWARD
            request.query, request.rest = split_query(request.query, most)
        return chosen

    def _admit(self, document: int, decoder: Decoding, sampling: Sampling) -> None:
        """Let a decoder ask its first query."""
        noise = None
        if sampling.temperature > 0:
            noise = torch.Generator(self.device).manual_seed(sampling.seed)
        request = self._live[document] = LiveRequest(document, decoder, sampling, noise)
        self._advance(request, None)
        if document in self._live and request.query.runner == 0:  # the assistant's states are not shared
            request.prefix = causal_prefix(request.query)

    def _forward(self, runner: Runner, selected: list[LiveRequest]) -> None:
        """Run the queries of requests as one forward of a model, and hand out the rows that were drawn."""
        logits = runner.logits(pack(selected, runner.slots))  # [W, V]
        if spoilt_by_drafts(logits, selected):
            self._events.extend(give_up_drafts(selected, runner.slots))
            logits = runner.logits(pack(selected, runner.slots))
        logits = in_vocabulary(logits, self.vocabulary).to(self.device)
        rows = [request.document for request in selected if request.query.wanted]
        if self.lockstep is not None and rows:
            logits = processed_scores(self.lockstep.process(rows, logits.float()))
        drawn = draw_in_turn(runner, logits, selected, self.table).tolist()  # a single wait for the device
        refuse_nan(selected, drawn[2])
        if self.lockstep is not None and rows:
            self.lockstep.write(rows, list(map(int, drawn[0])))
        self._hand_out(selected, drawn)

    def _hand_out(self, selected: list[LiveRequest], drawn: list[list[float]]) -> None:
        """Give each request its rows (tokens, scores, confidences); it goes on to its next query, or to its end."""
        start, live = 0, len(self._live)
        guesses = room_for_guesses(self.device.type, self._row_costs, live)
        for request in selected:
            query, rows = request.query, slice(start, start + len(request.query.wanted))
            start = rows.stop
            request.turn = self._ticks
            self._events.append((request.document, Forward(query.purpose, len(query.token_ids), query.commits)))
            if request.rest is not None:  # a chunk of its prompt ran: its decoder has no answer yet
                request.query = request.rest
                request.has_run = request.has_run or not leading(request.rest)
                continue
            request.has_run = True
            if query.drafts:
                self.runners[query.runner].slots.drop_drafts(request.document, query.streams, query.positions)
            tokens, scores, confidences, *likelihoods = (row[rows] for row in drawn)
            if request.sampling.top_logprobs is not None and query.wanted:
                self._events.append((request.document, rows_scored(request, query, tokens, likelihoods)))
            self._advance(request, Reply(list(map(int, tokens)), scores, confidences, *guesses, live))

    def _advance(self, request: LiveRequest, reply: Reply | None) -> None:
        """Resume a decoder and collect its events up to its next query, or its end; no reply starts it."""
        while request.document in self._live:
            try:
                item = next(request.decoder) if reply is None else request.decoder.send(reply)
            except Exception as error:  # for instance of a stopping criterion; `run` raises it to the caller
                item = Failed(error)
            reply = None  # events are not answered
            if isinstance(item, Query):
                request.query = item
                return
            self._events.append((request.document, item))
            if isinstance(item, (Ended, Failed)):
                self._leave(request)

    def _leave(self, request: LiveRequest) -> None:
        """Close a request's decoder and free its slots."""
        del self._live[request.document]
        request.decoder.close()
        for runner in self.runners:
            runner.slots.release(request.document)
