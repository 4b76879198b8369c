"""One answer while it is written, as a client is told of it: folded from the events of its request.

Text that is settled waits here until it is taken, so a reader who is slow gets fewer and longer pieces.
"""

from collections.abc import Sequence
from typing import Any

from ...generation.events import Ended, Event, Failed, Forward, Text
from ...generation.query import Request
from ..answer import Prose, read
from ..form import Form, written_as
from .plan_forms import FinishedPart
from .plan_stream import PlanStream
from .served_models import ServedModel
from .stop_texts import SettledText
from .token_counts import TokenCounts
from .token_likelihoods import TokenLikelihoods


class WrittenAnswer:
    """An answer that is being written.

    Args:
        model: its model.
        request: as the engine has it.
        stops: texts at which it ends.
        plan_stream: how much of the plan is told while it is written: "none", "parts" or "drafts".
        form: the answer is the object that fills it, as JSON; it is settled at the end.

    Attributes:
        error: the request failed with it.
        ended: the end, as the engine tells it.
        counts: tokens that the model has written.
        first_forward_at: end of its first forward, of `time.monotonic`, in seconds; None while it waits.
    """

    def __init__(
        self,
        model: ServedModel,
        request: Request,
        stops: Sequence[str] = (),
        plan_stream: str = "none",
        form: Form | None = None,
    ) -> None:
        self.model, self.request, self.stops, self.form = model, request, stops, form
        self.plan = PlanStream(model.reader, request, plan_stream, early=not stops)
        asked = request.sampling.top_logprobs is not None
        self.likelihoods = TokenLikelihoods(model.reader, request) if asked else None
        self.error: Exception | None = None
        self.ended: Ended | None = None
        self.counts = TokenCounts(request)
        self.first_forward_at: float | None = None
        self._prose = Prose(model.reader)
        self._settled = SettledText(stops)

    @property
    def is_over(self) -> bool:
        """Whether nothing more will come."""
        return self.ended is not None or self.error is not None

    @property
    def has_news(self) -> bool:
        """Whether text or something of the plan waits to be taken."""
        return self._settled.has_news or self.plan.has_news

    @property
    def prompt_tokens(self) -> int:
        """Tokens of its prompt."""
        return len(self.request.prompt_ids)

    @property
    def finish_reason(self) -> str | None:
        """The reason why it ended, as OpenAI names them: "stop" or, where a limit has cut it, "length"."""
        if self.ended is None:
            return None
        return "stop" if self._settled.is_stopped or self.ended.reason == "eos" else "length"

    def add(self, events: Sequence[Event], at: float) -> None:
        """Take in the events of a forward, which ended at a time of `time.monotonic`."""
        if self.first_forward_at is None and any(isinstance(event, Forward) for event in events):
            self.first_forward_at = at
        for event in events:
            self._add(event)

    def take_text(self) -> str:
        """Return the text that has settled since the last call."""
        return self._settled.take()

    def take_likelihoods(self) -> list[dict[str, Any]]:
        """Return the log-probabilities of the tokens whose text has been taken since the last call."""
        return [] if self.likelihoods is None else self.likelihoods.take(self._settled.taken, self.is_over)

    def parts(self) -> list[list[FinishedPart]]:
        """Return the plan of the finished answer: per round, per part, topic, length in tokens, and text."""
        return (
            [] if self.ended is None or self.form is not None else self.plan.rounds(self.ended, len(self._settled.text))
        )

    def _add(self, event: Event) -> None:
        if self.likelihoods is not None:
            self.likelihoods.add(event)
        self.plan.add(event)
        self.counts.add(event)
        if isinstance(event, Text):
            self._prose.add(event.token_ids)
            if self.form is None:
                self._settled.add(self._prose.text, final=False)
        elif isinstance(event, Ended):
            self._end(event)
        elif isinstance(event, Failed):
            self.error = event.error

    def _end(self, ended: Ended) -> None:
        """Take in the end, which settles the text."""
        self.ended = ended
        text = read(self.model.reader, ended.answer_ids)
        if self.form is not None and ended.reason == "eos":
            text = written_as(self.form.value(ended))
        self._settled.add(text, final=True)
        self.plan.finish(self.parts())
