"""Count the tokens of an answer that the model has written: those of its text, and those of its plan."""

from ...generation.events import Ended, Event, PlanDone, PlanShortened, PlanToken, Text
from ...generation.query import Request


class TokenCounts:
    """Folds a request's events into counts.

    Attributes:
        text: tokens of the text; what was given in parts, or stands between them, is taken off at the end.
        plan: tokens of plans.
    """

    def __init__(self, request: Request) -> None:
        self.request = request
        self.text = self.plan = 0
        self._given: dict[tuple[int, int], int] = {}  # tokens of text that stood in a part, by (round, part)

    def add(self, event: Event) -> None:
        """Take an event in."""
        if isinstance(event, PlanToken):
            self.plan += 1
        elif isinstance(event, PlanShortened):
            self.plan -= len(event.token_ids)
        elif isinstance(event, PlanDone):
            control = self.request.control.all
            given = {span.index: sum(token not in control for _, token in span.given) for span in event.spans}
            self._given |= {(event.round, index): count for index, count in given.items()}
        elif isinstance(event, Text):
            self.text += len(event.token_ids)
        elif isinstance(event, Ended) and event.plans:
            self.text = self._written_into(event)

    def _written_into(self, ended: Ended) -> int:
        """Return how many tokens of the parts' texts were written."""
        return sum(
            max(0, span.stop - span.start - self._given.get((number, index), 0))
            for number, spans in enumerate(ended.plans)
            for index, span in enumerate(spans)
        )
