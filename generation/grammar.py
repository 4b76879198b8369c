"""The grammar of a plan: a state machine that keeps a planner well formed and within its room.

Source: arXiv 2510.18087, section 3.1.
"""

from copy import copy

from .plan import Round, Span, Unit
from .tokens import Allowed, ControlTokens

TAGS_OF_A_SPAN = 2  # <async> and </async>


TERMINATOR = 1


class RoundGrammar:
    """State machine over the plan of one round: which tokens may come next, so that it is always well formed and fits.

    What must always stay affordable, in tokens: the promises written, room and tags of each span promised, the shortest
    completion of an open promise, and the terminator. A planner that wants more than its room holds is told by the end
    of the round: `terminator` is then None.

    Args:
        tokens: the checkpoint's control tokens.
        unit: tokens per promised number.
        room: tokens that this round may use, plan, tags, spans and terminator together.
        max_spans: promises that this round may make.
        may_sync: False in the last round that the request allows.
        max_topic_tokens: ids between `<promise>-<topic>` and `</topic>`, number included.
    """

    def __init__(
        self, tokens: ControlTokens, unit: Unit, room: int, max_spans: int, may_sync: bool, max_topic_tokens: int = 32
    ):
        self.tokens, self.unit, self.room = tokens, unit, room
        self.max_spans, self.may_sync, self.max_topic_tokens = max_spans, may_sync, max_topic_tokens
        self.ids: list[int] = []
        self.spans: list[Span] = []
        self.terminator: int | None = None
        self.ended = room < TERMINATOR
        self._spent = TERMINATOR  # tokens that the round costs as it stands, the terminator included
        self._open: list[int] | None = None  # ids of the promise being written
        self._digits = frozenset(tokens.digits)
        self._allowed_inside: dict[tuple, Allowed] = {}  # by state; they recur, also in copies

    @property
    def in_promise(self) -> bool:
        return self._open is not None

    def copy(self) -> "RoundGrammar":
        """The same state, to go on from without changing this one."""
        twin = copy(self)
        twin.ids, twin.spans = self.ids.copy(), self.spans.copy()
        twin._open = None if self._open is None else self._open.copy()
        return twin

    @staticmethod
    def shortest(unit: Unit) -> int:
        """Tokens of the shortest round: one promise of three tokens, a span of number 1, a terminator."""
        return 3 + TAGS_OF_A_SPAN + unit.length(1) + TERMINATOR

    def allowed(self) -> Allowed:
        """The tokens that may come next; never empty before the round has ended."""
        if self._open is None:
            return self._allowed_between_promises()
        number, _ = self._last_number(self._open)
        may_close = number > 0 and self._fits(number, more_tokens=1)
        state = (self._digits_behind(number), may_close, self._completes(0))
        if state not in self._allowed_inside:
            self._allowed_inside[state] = self._allowed_in_promise(*state)
        return self._allowed_inside[state]

    def _digits_behind(self, number: int) -> frozenset[int]:
        """Those that may go on with it: a larger number never asks for less."""
        tens = 10 * number
        if self._completes(tens) and self._completes(tens + 9):
            return self._digits
        return frozenset(token for value, token in enumerate(self.tokens.digits) if self._completes(tens + value))

    def _allowed_in_promise(self, digits: frozenset[int], may_close: bool, may_go_on: bool) -> Allowed:
        end = {self.tokens.topic_end} if may_close else set()
        if may_go_on:
            return Allowed(only=False, ids=(self.tokens.all | self._digits) - digits - end)
        return Allowed(only=True, ids=digits | end)

    def _allowed_between_promises(self) -> Allowed:
        ids = set(self.tokens.eos)
        if len(self.spans) < self.max_spans:
            ids.add(self.tokens.promise_start)
        if self.spans and self.may_sync and self._spent + TERMINATOR <= self.room:  # an EOS must still fit behind it
            ids.add(self.tokens.sync)
        return Allowed(only=True, ids=frozenset(ids))

    def push(self, token: int) -> bool:
        """Takes the next token, one of `allowed()`; says whether it became part of the promises."""
        if self._open is not None:
            self._push_in_promise(token)
        elif token != self.tokens.promise_start:
            self.terminator, self.ended = token, True
        elif self._spent + self.shortest(self.unit) - TERMINATOR > self.room:
            self.ended = True  # it wants more than there is room for
        else:
            self._open = []
            self._take(token)
        return not self.ended

    def _push_in_promise(self, token: int) -> None:
        self._take(token)
        if token != self.tokens.topic_end:
            self._open.append(token)
            return
        value, digits = self._last_number(self._open)
        span = Span(tuple(self._open[: len(self._open) - digits]), value, self.unit.length(value))
        self.spans.append(span)
        self._spent += TAGS_OF_A_SPAN + span.length
        self._open = None

    def _take(self, token: int) -> None:
        self.ids.append(token)
        self._spent += 1

    def _last_number(self, inside: list[int]) -> tuple[int, int]:
        """The number that ends `inside`, and how many digits it has; (0, 0) when there is none."""
        digits = 0
        while digits < len(inside) and inside[-1 - digits] in self._digits:
            digits += 1
        number = 0
        for token in inside[len(inside) - digits :]:
            number = 10 * number + self.tokens.digits.index(token)
        return number, digits

    def _fits(self, number: int, more_tokens: int) -> bool:
        return self._spent + more_tokens + TAGS_OF_A_SPAN + self.unit.length(number) <= self.room

    def _completes(self, number: int) -> bool:
        """Whether the promise can still be closed after one more token, which makes its last number so; 0 for none."""
        if number and self._fits(number, more_tokens=2):
            completion = 1  # </topic>
        elif number:
            completion = 3  # too large: something between, a digit, </topic>
        else:
            completion = 2  # a digit, </topic>
        return len(self._open) + completion <= self.max_topic_tokens and self._fits(1, more_tokens=1 + completion)

    def round(self) -> Round:
        """The round as planned; call when it has ended."""
        return Round(tuple(self.spans), tuple(self.ids), self.terminator)
