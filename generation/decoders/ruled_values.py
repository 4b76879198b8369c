"""Values of a form: blanks under a rule, each value from left to right, all values at once.

    {"name": "Nai ░ ░ ░", "people": 4 ░ ░, "coast": t ░}       one more token of every value per forward

A value ends with its first `[PAD]`, or with its room. Tokens that a rule leaves no choice for are written without a
forward. Everything of the form is in sight: what stands already, to the left and to the right, is seen by all values.
Labels: as `planned`. Cache: exact; the form runs again at every step, since everything in it sees what was written.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from ..events import Decoding, PlacedSpan
from ..query import Drawn
from ..value_rules import Rule
from .canvas import Canvas


@dataclass(eq=False)
class Value:
    """A value while it is written: its blanks, the rule, and the tokens so far."""

    positions: range
    rule: Rule
    written: tuple[int, ...] = ()

    @property
    def next(self) -> int:
        """The position that is written next."""
        return self.positions.start + len(self.written)

    def take(self, token: int, score: float, pad: int) -> dict[int, Drawn]:
        """Take the next token; return what is written by it: where it ends the value, pads fill the rest."""
        place = self.next
        token = pad if token in self.rule.ends else token
        self.written += (token,) * (len(self.positions) - len(self.written) if token == pad else 1)
        return {position: Drawn(token, score, None) for position in range(place, self.next)}


def fill_values(canvas: Canvas, spans: Sequence[PlacedSpan], is_dense: bool) -> Decoding:
    """Write the values of a round's forms, until none is open or a stopping criterion ends the answer.

    Afterwards all spans are stale, as they are before their first step.
    """
    pad = canvas.control.padding
    values = [Value(positions, rule) for positions, rule in canvas.take_ruled()]
    if not values:
        return
    filled = [span for span in spans if any(value.positions.start in span.positions for value in values)]
    owners = list(spans) if is_dense else filled  # the spans in which something changes that they see
    while values:
        allowed = [value.rule.allowed(value.written, len(value.positions) - len(value.written)) for value in values]
        sure = {index: min(one.ids) for index, one in enumerate(allowed) if len(one.ids) == 1}
        if sure:  # no forward is needed to know them
            tokens = [(values[index], token, 0.0) for index, token in sure.items()]
        else:
            predicted = [value.next for value in values]
            run = canvas.stale | {position - 1 for position in predicted}
            reply = yield canvas.query(run, predicted, allowed, "denoising")
            tokens = list(zip(values, reply.token_ids, reply.scores, strict=True))
        written = [value.take(token, score, pad) for value, token, score in tokens]
        yield canvas.write({place: drawn for each in written for place, drawn in sorted(each.items())})
        for span in owners:
            canvas.stale.update(span.extent)
        values = [value for value in values if value.next < value.positions.stop]
        yield from canvas.prose.new_text()
        if canvas.prose.stopped:
            return
    for span in spans:
        canvas.stale.update(span.extent)
