"""The live state of one answer: what a viewer shows while the events of a request come in."""

from dataclasses import dataclass, field

from .generation_events import BlanksPlaced, PlacedSpan, PlanDone, PlanToken, RoundClosed, Text, TokensBlanked, TokensWritten


@dataclass
class Board:
    """Folds a request's events into what a viewer shows: the plan as drawn, the spans as they fill, the final text."""

    plan_ids: list[int] = field(default_factory=list)
    spans: list[PlacedSpan] = field(default_factory=list)
    tokens: dict[int, int] = field(default_factory=dict)  # written positions
    text_ids: list[int] = field(default_factory=list)

    def add(self, event) -> None:
        if isinstance(event, PlanToken):
            self.plan_ids.append(event.token_id)
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
        """Tokens of the round's spans that are not final yet, `blank` where nothing is written."""
        tokens = [self.tokens.get(position, blank) for span in self.spans for position in span.positions]
        first_blank = tokens.index(blank) if blank in tokens else len(tokens)
        return tokens[first_blank:]
