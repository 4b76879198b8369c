"""Plan with a model of this package what another engine then writes.

Our model answers as it always does, and its rounds are taken as soon as they are planned: another engine writes the
parts of the first one at once. Where a further round follows, our model writes its own draft of the parts meanwhile,
since it plans the next round behind it; the draft is thrown away. As soon as the last round is planned, or the answer
turns out to have no plan, the request is dropped.
"""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial

from ...generation.events import BlanksPlaced, Ended, Event, Failed, PlanDone, PlanShortened, PlanToken, Text
from ...generation.sequences import FinishedSpan, read_topic
from ..answer import Checkpoint
from ..batch.batcher import batch_size_on
from ..server.engine_thread import EngineThread, Ticket
from ..server.limits import Limits
from ..server.served_models import ServedModel
from .part_request import Chat
from .planned_parts import PlannedPart, PlanSource

NAME = "planner"
DECODING = "planned"


class OwnPlanner:
    """Plans with a checkpoint, on a thread of its own. Used on the event loop's thread.

    Args:
        checkpoint: the model that plans.
        limits: of the server.
    """

    def __init__(self, checkpoint: Checkpoint, limits: Limits) -> None:
        live = limits.live or batch_size_on(checkpoint.model.device.type)
        self.engine = EngineThread({NAME: checkpoint}, {NAME: live})
        self.model = ServedModel(NAME, checkpoint, limits)
        self._encoding = ThreadPoolExecutor(1, "planner-encoding")

    async def plan(self, chat: Chat, client: str) -> PlanSource:
        """Return the plan of an answer once its first round is known; without rounds where it has no plan.

        Raises:
            RefusalError: a chat that the model cannot take.
            Exception: the model failed.
        """
        loop = asyncio.get_running_loop()
        ids = await loop.run_in_executor(self._encoding, self.model.encode_chat, chat)
        [request] = await loop.run_in_executor(self._encoding, self.model.requests, ids, {"decoding": DECODING})
        source = PlanSource(is_complete=False)

        def deliver(events: list[Event]) -> None:
            with suppress(RuntimeError):  # the loop has ended, so nobody listens
                loop.call_soon_threadsafe(take, events)

        def take(events: list[Event]) -> None:
            for event in events:
                if not source.is_complete:
                    self._fold(source, event, request.control.sync)
            if source.is_complete:
                source.close()

        ticket = Ticket(NAME, request, deliver, client)
        source.close = partial(self.engine.cancel, ticket)
        self.engine.add(ticket)
        try:
            await source.round(0)
        except BaseException:
            source.close()
            raise
        return source

    def start(self) -> None:
        """Start the thread."""
        self.engine.start()

    def close(self) -> None:
        """Stop encoding and planning."""
        self._encoding.shutdown(wait=True, cancel_futures=True)
        self.engine.close()

    def _fold(self, source: PlanSource, event: Event, sync: int) -> None:
        """Take an event of a request into its plan; `sync` is the token behind a plan that another one follows."""
        if isinstance(event, PlanToken):
            source.plan_tokens += 1
        elif isinstance(event, PlanShortened):
            source.plan_tokens -= len(event.token_ids)
        elif isinstance(event, PlanDone):
            spans = event.promises.spans
            named = [
                (read_topic(self.model.reader, FinishedSpan(one.topic_ids, one.length, 0, 0)), one) for one in spans
            ]
            source.add([PlannedPart(topic, span.length) for topic, span in named])
            if event.promises.terminator != sync:
                source.end()
        elif isinstance(event, Failed):
            source.end(event.error)
        elif isinstance(event, Ended) or (isinstance(event, (Text, BlanksPlaced)) and not source.rounds):
            source.end()
