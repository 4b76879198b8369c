"""Requests of any kind in one engine: whoever has ended leaves, and the next one joins the very next forward."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice

import torch

from ...generation.config import DECODERS, PlannedDiffusionGenerationConfig
from ...generation.engine.engine import Engine
from ...generation.events import Ended, Failed
from ...generation.query import Request
from ...generation.requests import RequestMaker
from ...generation.trace import TraceRecorder
from ...records.encoding import encode_prompt
from ..answer import Answer, Checkpoint, answer_of
from .tasks import Task, read_plan


@dataclass(frozen=True)
class Outcome:
    """What became of a task: an answer, or what is wrong with the request."""

    task: Task
    answer: Answer | None = None
    error: str | None = None

    def entry(self) -> dict:
        """As the journal keeps it."""
        entry = {"index": self.task.index, "hash": self.task.fingerprint}
        if self.answer is None:
            return entry | {"failed": {"id": self.task.id, "error": self.error}}
        return entry | {"answered": {"id": self.task.id, **self.answer.as_json()}}


@dataclass
class _Guest:
    """A task in the engine."""

    task: Task
    request: Request
    config: PlannedDiffusionGenerationConfig
    recorder: TraceRecorder


class Crowd:
    """Tasks that share the forwards of one model.

    Args:
        checkpoint: model and tokenizer.
        settings: fields of `generate` for all tasks; a task's own come before them.
        batch_size: tasks that share a forward, at most; `add` no more.
    """

    def __init__(self, checkpoint: Checkpoint, settings: dict, batch_size: int):
        self.checkpoint, self.settings, self.batch_size = checkpoint, settings, batch_size
        self._engine = self._new_engine()
        self._guests: dict[int, _Guest] = {}
        self._refused: list[Outcome] = []

    def __len__(self) -> int:
        return len(self._guests) + len(self._refused)

    @property
    def room(self) -> int:
        """Tasks that may join."""
        return self.batch_size - len(self)

    def add(self, task: Task) -> None:
        """Takes a task in; one that cannot be run is an outcome of the next tick."""
        try:
            request, config = self._request(task)
        except Exception as error:  # a template can raise anything, and no request may harm another
            self._refused.append(Outcome(task, error=str(error)))
            return
        guest = _Guest(task, request, config, TraceRecorder())
        self._guests[self._engine.add(DECODERS[config.decoding](request), request.sampling)] = guest

    @torch.no_grad()
    def tick(self) -> list[Outcome]:
        """One forward for all; the tasks that have come to their end."""
        refused, self._refused = self._refused, []
        try:
            return refused + self._outcomes(self._engine.tick())
        except FloatingPointError:  # NaN spreads through the cache that all share
            return refused + self._one_by_one()

    def _outcomes(self, events: Iterable[tuple[int, object]]) -> list[Outcome]:
        ended = []
        for number, event in events:
            self._guests[number].recorder.add(event)
            if isinstance(event, (Ended, Failed)):
                ended.append((number, event))
        return [self._outcome(self._guests.pop(number), event) for number, event in ended]

    def _outcome(self, guest: _Guest, ended: Ended | Failed) -> Outcome:
        if isinstance(ended, Failed):
            return Outcome(guest.task, error=str(ended.error))
        task, config, trace = guest.task, guest.config, guest.recorder.trace()
        ids = guest.request.prompt_ids
        answer = answer_of(self.checkpoint, task.prompt, ids, ended, trace, config.decoding, config.keep_plan)
        return Outcome(task, answer)

    def _one_by_one(self) -> list[Outcome]:
        """Runs everyone alone from the beginning, so that a request without an answer harms no other."""
        guests, self._guests, outcomes = self._guests, {}, []
        for guest in guests.values():
            self._engine = self._new_engine()
            self.add(guest.task)
            try:
                outcomes += self._outcomes(self._engine.run())
            except Exception as error:  # NaN, or what a decoder raises
                self._guests = {}
                outcomes.append(Outcome(guest.task, error=str(error)))
        self._engine = self._new_engine()
        return outcomes

    def _new_engine(self) -> Engine:
        model = self.checkpoint.model
        return Engine(model, self.batch_size, compile_config=model.generation_config.compile_config)

    def _request(self, task: Task) -> tuple[Request, PlannedDiffusionGenerationConfig]:
        model, tokenizer = self.checkpoint.model, self.checkpoint.tokenizer
        plan = None if task.plan is None else [read_plan(task.plan)]
        config = model.resolve_fields(None, plan, {**self.settings, **task.fields, "num_return_sequences": 1})
        maker = RequestMaker(model.config, config, tokenizer)
        ids = torch.tensor([encode_prompt(tokenizer, task.prompt)], dtype=torch.long)  # [1, N]
        prompts = maker.prompts(ids, torch.ones_like(ids))
        return maker.requests(prompts, plan, None, None, model.device)[0], config


def outcomes(crowd: Crowd, tasks: Iterable[Task]) -> Iterator[Outcome]:
    """Outcomes of all tasks as they end; a task is read from `tasks` only when there is room for it."""
    tasks = iter(tasks)
    while True:
        for task in islice(tasks, max(crowd.room, 0)):
            crowd.add(task)
        if not len(crowd):
            return
        yield from crowd.tick()
