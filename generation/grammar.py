"""The grammar of a plan: a state machine that keeps a planner well formed and within its room.

Source: arXiv 2510.18087, section 3.1.
"""

from collections.abc import Sequence
from copy import copy

from .plan import Round, Span, Unit
from .tokens import Allowed, ControlTokens

TAGS_OF_A_SPAN = 2  # <async> and </async>
TERMINATOR = 1
MOST_TOPIC_TOKENS = 32  # number included; a longer topic is a planner that lost its way


class RoundGrammar:
    """State machine over the plan of one round: it says which tokens may come next, so that any plan is sound and fits.

    It keeps affordable, in tokens: the promises written, room and tags of each promised span, the shortest completion
    of an open promise, and the terminator. Where a planner begins a promise that the room cannot hold, the round ends
    without a terminator.

    Args:
        control: the checkpoint's control tokens.
        unit: tokens per promised number.
        room: tokens that this round may use: plan, tags, spans and terminator together.
        max_spans: promises that this round may make.
        may_sync: False in the last round that the request allows.
        max_topic_tokens: ids between `<promise>-<topic>` and `</topic>`, number included.

    Attributes:
        ids: the promises as written.
        spans: the promises read.
        terminator: `<sync/>`, EOS, or None while the round is open and where it ended for lack of room.
        ended: no token may follow.
    """

    def __init__(
        self,
        control: ControlTokens,
        unit: Unit,
        room: int,
        max_spans: int,
        may_sync: bool,
        max_topic_tokens: int = MOST_TOPIC_TOKENS,
    ) -> None:
        self.control, self.unit, self.room = control, unit, room
        self.max_spans, self.may_sync, self.max_topic_tokens = max_spans, may_sync, max_topic_tokens
        self.ids: list[int] = []
        self.spans: list[Span] = []
        self.terminator: int | None = None
        self.ended = room < TERMINATOR
        self._spent = TERMINATOR  # tokens that the round costs as it stands, the terminator included
        self._open: list[int] | None = None  # ids of the promise being written
        self._digits = frozenset(control.digits)
        self._allowed_inside: dict[tuple, Allowed] = {}  # by state; states recur, also in copies

    @property
    def in_promise(self) -> bool:
        """Whether a promise has begun and is not closed."""
        return self._open is not None

    def copy(self) -> "RoundGrammar":
        """Return a machine in the same state, to go on from without changing this one."""
        twin = copy(self)
        twin.ids, twin.spans = self.ids.copy(), self.spans.copy()
        twin._open = None if self._open is None else self._open.copy()
        return twin

    def allowed(self) -> Allowed:
        """Return the tokens that may come next; never empty before the round has ended."""
        if self._open is None:
            return self._allowed_between_promises()
        number, _ = last_number(self._open, self.control.digits)
        may_close = number > 0 and self._fits(number, more_tokens=1)
        state = (self._digits_behind(self._open, number), may_close, self._can_close_after(self._open, 0))
        if state not in self._allowed_inside:
            digits, may_close, may_go_on = state
            end = {self.control.topic_end} if may_close else set()
            forbidden = (self.control.all | self._digits) - digits - end
            self._allowed_inside[state] = (
                Allowed(only=False, ids=forbidden) if may_go_on else Allowed(only=True, ids=digits | end)
            )
        return self._allowed_inside[state]

    def push(self, token: int) -> bool:
        """Take the next token, which `allowed()` holds; return whether it became part of the promises."""
        if self._open is not None:
            self._push_in_promise(self._open, token)
        elif token != self.control.promise_start:
            self.terminator, self.ended = token, True
        elif self._spent + shortest_round(self.unit) - TERMINATOR > self.room:
            self.ended = True  # no room for another promise with its span
        else:
            self._open = []
            self._take(token)
        return not self.ended

    def round(self) -> Round:
        """Return the round as planned; call it when the round has ended."""
        return Round(tuple(self.spans), tuple(self.ids), self.terminator)

    def _allowed_between_promises(self) -> Allowed:
        ids = set(self.control.eos)
        if len(self.spans) < self.max_spans:
            ids.add(self.control.promise_start)
        if self.spans and self.may_sync and self._spent + TERMINATOR <= self.room:  # an EOS must still fit behind it
            ids.add(self.control.sync)
        return Allowed(only=True, ids=frozenset(ids))

    def _digits_behind(self, inside: list[int], number: int) -> frozenset[int]:
        """Return the digits that may follow a number. A larger number asks for no fewer tokens, so two tests may do."""
        tens = 10 * number
        if self._can_close_after(inside, tens) and self._can_close_after(inside, tens + 9):
            return self._digits
        fitting = (value for value in range(10) if self._can_close_after(inside, tens + value))
        return frozenset(self.control.digits[value] for value in fitting)

    def _push_in_promise(self, inside: list[int], token: int) -> None:
        self._take(token)
        if token != self.control.topic_end:
            inside.append(token)
            return
        value, digits = last_number(inside, self.control.digits)
        span = Span(tuple(inside[: len(inside) - digits]), value, self.unit.length(value))
        self.spans.append(span)
        self._spent += TAGS_OF_A_SPAN + span.length
        self._open = None

    def _take(self, token: int) -> None:
        self.ids.append(token)
        self._spent += 1

    def _fits(self, number: int, more_tokens: int) -> bool:
        return self._spent + more_tokens + TAGS_OF_A_SPAN + self.unit.length(number) <= self.room

    def _can_close_after(self, inside: list[int], number: int) -> bool:
        """Whether the promise can still be closed after one more token that makes `number` its last one; 0 for none."""
        if number and self._fits(number, more_tokens=2):
            to_close = ("</topic>",)
        elif number:
            to_close = ("a token between", "a digit", "</topic>")  # the number is too large: write another one
        else:
            to_close = ("a digit", "</topic>")
        return len(inside) + len(to_close) <= self.max_topic_tokens and self._fits(1, more_tokens=1 + len(to_close))


def shortest_round(unit: Unit) -> int:
    """Return the tokens of the shortest round: one promise of three tokens, a span of number 1, a terminator."""
    return 3 + TAGS_OF_A_SPAN + unit.length(1) + TERMINATOR


def last_number(ids: Sequence[int], digits: Sequence[int]) -> tuple[int, int]:
    """Return the number that ends `ids`, and how many digits it has; (0, 0) where there is none."""
    count = 0
    while count < len(ids) and ids[-1 - count] in digits:
        count += 1
    number = 0
    for token in ids[len(ids) - count :]:
        number = 10 * number + digits.index(token)
    return number, count
