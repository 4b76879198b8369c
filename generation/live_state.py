"""The live state of one answer: the plan and the spans as they fill, for viewers and streamers."""

from dataclasses import dataclass, field

from .events import (
    BlanksPlaced,
    Event,
    PlacedSpan,
    PlanDone,
    PlanShortened,
    PlanToken,
    RoundClosed,
    Text,
    TokensBlanked,
    TokensWritten,
)


@dataclass
class LiveState:
    """Folds a request's events into the state that a viewer shows.

    Attributes:
        plan_ids: the round's plan as far as it is drawn.
        spans: the spans of the round.
        tokens: written positions and their tokens.
        text_ids: the final text.
    """

    plan_ids: list[int] = field(default_factory=list)
    spans: list[PlacedSpan] = field(default_factory=list)
    tokens: dict[int, int] = field(default_factory=dict)
    text_ids: list[int] = field(default_factory=list)

    def add(self, event: Event) -> None:
        """Take an event in."""
        if isinstance(event, PlanToken):
            self.plan_ids.append(event.token_id)
        elif isinstance(event, PlanShortened):
            del self.plan_ids[-len(event.positions) :]
        elif isinstance(event, (PlanDone, BlanksPlaced)):
            self.plan_ids, self.spans = [], list(event.spans)
            self.tokens |= {position: token for span in event.spans for position, token in span.given}
        elif isinstance(event, TokensWritten):
            self.tokens |= dict(zip(event.positions, event.token_ids, strict=True))
        elif isinstance(event, TokensBlanked):
            for position in event.positions:
                del self.tokens[position]
        elif isinstance(event, RoundClosed):
            self.spans = []
        elif isinstance(event, Text):
            self.text_ids += event.token_ids

    def draft(self, blank: int) -> list[int]:
        """Return the tokens of the round's spans that are not final yet, `blank` where nothing is written."""
        tokens = [self.tokens.get(position, blank) for span in self.spans for position in span.positions]
        first_blank = tokens.index(blank) if blank in tokens else len(tokens)
        return tokens[first_blank:]
