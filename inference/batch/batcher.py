"""Continuous batching of tasks: a request that ends leaves the engine, and the next one joins the very next forward."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

import torch

from ...generation.decoders.table import DECODERS
from ...generation.engine.engine import Engine
from ...generation.events import Ended, Event, Failed
from ...generation.query import Request
from ...generation.trace import TraceRecorder
from ..answer import Answer, Checkpoint, Fields
from .openai_lines import is_openai_line, response_of
from .tasks import Task, read_plan

# Requests that run together, by kind of device. On one CPU thread the included model answers 3.5, 3.7 and 4.2 times as
# fast in batches of 8, 16 and 32 as one at a time (threshold 0.9, CPU seconds, 2026-11-21). 64 on a GPU is the
# engine's own limit, not a measured optimum.
BATCH_SIZES = {"cpu": 32, "cuda": 64}


def batch_size_on(kind: str) -> int:
    """Return the default number of requests that run together on a kind of device."""
    return BATCH_SIZES.get(kind, BATCH_SIZES["cuda"])


@dataclass(frozen=True)
class Outcome:
    """The end of a task: an answer, or the reason why the request failed."""

    task: Task
    answer: Answer | None = None
    error: str | None = None

    def entry(self) -> dict[str, Any]:
        """Return the journal's entry: {"index", "hash"} and either "answered" or "failed", as the output files have it.

        {"index": 3, "hash": "9f86...", "answered": {"id": "a7", "text": ..., and all of `generate --json`}}
        {"index": 4, "hash": "60b7...", "failed": {"id": "a8", "error": "There is room for ...", and all of the line}}
        """
        task = self.task
        entry = {"index": task.index, "hash": task.fingerprint}
        if self.answer is None:
            return entry | {"failed": {**task.row, "id": task.id, "error": self.error}}
        answered = {"id": task.id, **self.answer.as_json()}
        if is_openai_line(task.row):
            answered |= {"custom_id": task.id, "response": response_of(self.answer), "error": None}
        return entry | {"answered": answered}


@dataclass(frozen=True)
class _Running:
    """A task in the engine."""

    task: Task
    request: Request
    recorder: TraceRecorder


class Batcher:
    """Tasks that share the forwards of one model.

    Args:
        checkpoint: model and tokenizer.
        fields: fields of `generate` for all tasks; those of a task come first.
        batch_size: the most tasks that share a forward; `add` no more. By default one that suits the device.

    Raises:
        ValueError: fields with which no request could run.
    """

    def __init__(self, checkpoint: Checkpoint, fields: Fields, batch_size: int | None = None) -> None:
        checkpoint.model.resolve_fields(None, None, dict(fields))
        self.checkpoint, self.fields = checkpoint, fields
        self.batch_size = batch_size or batch_size_on(checkpoint.model.device.type)
        self._engine = self._new_engine()
        self._running: dict[int, _Running] = {}  # by the engine's number
        self._refused: list[Outcome] = []  # outcomes of the next tick

    def __len__(self) -> int:
        return len(self._running) + len(self._refused)

    @property
    def room(self) -> int:
        """The number of tasks that may join."""
        return self.batch_size - len(self)

    def add(self, task: Task) -> None:
        """Add a task; one that cannot run is an outcome of the next tick."""
        try:
            plan = None if task.plan is None else read_plan(task.plan)
            request = self.checkpoint.request(task.prompt, {**self.fields, **task.fields}, plan)
        except Exception as error:  # a chat template can raise anything, and no request may harm another
            self._refused.append(Outcome(task, error=str(error)))
            return
        number = self._engine.add(DECODERS[request.settings.decoding].run(request), request.sampling)
        self._running[number] = _Running(task, request, TraceRecorder())

    @torch.no_grad()
    def tick(self) -> list[Outcome]:
        """Run one forward for all tasks; return the outcomes of those that ended."""
        refused, self._refused = self._refused, []
        try:
            return refused + self._outcomes(self._engine.tick())
        except FloatingPointError:  # NaN spreads through the cache that all requests share
            return refused + self._run_one_by_one()

    def _outcomes(self, events: Iterable[tuple[int, Event]]) -> list[Outcome]:
        ended = []
        for number, event in events:
            self._running[number].recorder.add(event)
            if isinstance(event, (Ended, Failed)):
                ended.append((number, event))
        return [self._outcome(self._running.pop(number), event) for number, event in ended]

    def _outcome(self, running: _Running, end: Ended | Failed) -> Outcome:
        if isinstance(end, Failed):
            return Outcome(running.task, error=str(end.error))
        trace = running.recorder.trace()
        return Outcome(running.task, Answer.of(self.checkpoint, running.task.prompt, running.request, end, trace))

    def _run_one_by_one(self) -> list[Outcome]:
        """Run every task alone from its beginning, so that a request that fails harms no other."""
        interrupted, self._running, outcomes = self._running, {}, []
        for running in interrupted.values():
            self._engine = self._new_engine()
            self.add(running.task)
            try:
                outcomes += self._outcomes(self._engine.run())
            except Exception as error:  # NaN, or an error of the decoder
                self._running = {}
                outcomes.append(Outcome(running.task, error=str(error)))
        self._engine = self._new_engine()
        return outcomes

    def _new_engine(self) -> Engine:
        return Engine(self.checkpoint.model, self.batch_size, compile_config=self.checkpoint.compile_config)


def outcomes(batcher: Batcher, tasks: Iterable[Task]) -> Iterator[Outcome]:
    """Yield the outcomes of all tasks as they end; a task is read from `tasks` only when there is room for it."""
    tasks = iter(tasks)
    while True:
        for task in islice(tasks, max(batcher.room, 0)):
            batcher.add(task)
        if not len(batcher):
            return
        yield from batcher.tick()
