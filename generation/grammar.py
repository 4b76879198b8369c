"""The grammar of a plan: a state machine that keeps a planner well formed, and cuts a plan that its room cannot hold.

Source: arXiv 2510.18087, section 3.1.
"""

from collections.abc import Sequence
from copy import copy

from .plan import Round, Span, Unit, opening_of
from .tokens import Allowed, ControlTokens

END_TAG = 1  # </async>
TERMINATOR = 1
MOST_TOPIC_TOKENS = 32  # number included; a longer topic is a planner that lost its way


class RoundGrammar:
    """State machine over the plan of one round: it says which tokens may come next, and ends a round that is too long.

    The room never forbids a token: a planner that is kept from the number it wants writes another topic instead. A
    promise that does not fit is dropped, from its first token on, and the round ends without a terminator. It fits
    where the room holds, beside it and all before it, a span of its number with tags, and the terminator. An open one
    is dropped as soon as no completion fits.

    Args:
        control: the checkpoint's control tokens.
        unit: tokens per promised number.
        room: tokens that this round may use: plan, tags, spans and terminator together.
        max_spans: promises that this round may make.
        may_sync: False in the last round that the request allows.
        max_topic_tokens: ids between `<promise>-<topic>` and `</topic>`, number included.

    Attributes:
        distinct_topics: no topic begins with the token that an earlier one of the round begins with; topics that
            count, with digits in them, may. May be set before the round begins.
        ids: the promises as written; those of a dropped one are removed.
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
        self.distinct_topics = False
        self.ids: list[int] = []
        self.spans: list[Span] = []
        self.terminator: int | None = None
        self.ended = room < TERMINATOR
        self._spent = TERMINATOR  # tokens that the round costs as it stands, the terminator included
        self._open: list[int] | None = None  # ids of the promise being written
        self._kept = 0  # ids of the promises that are closed
        self._digits = frozenset(control.digits)
        self._beginnings: frozenset[int] = frozenset()  # tokens that no further topic may begin with
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
        refused = frozenset() if self._open else self._beginnings
        state = (min(2, self.max_topic_tokens - len(self._open)), number > 0, refused)
        if state not in self._allowed_inside:
            self._allowed_inside[state] = self._allowed_in_promise(*state)
        return self._allowed_inside[state]

    def push(self, token: int) -> bool:
        """Take the next token, which `allowed()` holds; return whether it became part of the promises."""
        if self._open is not None:
            self._push_in_promise(self._open, token)
        elif token == self.control.promise_start:
            self._open = []
            self._take(token)
        else:
            # An EOS must still fit behind a `<sync/>`.
            fits = token != self.control.sync or self._spent + TERMINATOR <= self.room
            self.terminator, self.ended = token if fits else None, True
        if not self._can_fit():
            del self.ids[self._kept :]
            self.ended = True
        return not self.ended

    def round(self) -> Round:
        """Return the round as planned; call it when the round has ended."""
        return Round(tuple(self.spans), tuple(self.ids), self.terminator)

    def _allowed_between_promises(self) -> Allowed:
        ids = set(self.control.eos)
        if len(self.spans) < self.max_spans:
            ids.add(self.control.promise_start)
        if self.spans and self.may_sync:
            ids.add(self.control.sync)
        return Allowed(only=True, ids=frozenset(ids))

    def _allowed_in_promise(self, tokens_left: int, has_number: bool, refused: frozenset[int]) -> Allowed:
        """Return the tokens that may come next with so many left before `</topic>`, of which 2 stand for any more."""
        end = {self.control.topic_end} if has_number else set()
        if tokens_left == 2:
            return Allowed(only=False, ids=(self.control.all - end) | refused)
        digits = self._digits if tokens_left else frozenset()
        if not has_number:
            digits -= {self.control.digits[0]}  # the last one must make a number
        return Allowed(only=True, ids=digits | end)

    def _push_in_promise(self, inside: list[int], token: int) -> None:
        self._take(token)
        if token != self.control.topic_end:
            inside.append(token)
            return
        self._open = None
        value, digits = last_number(inside, self.control.digits)
        span = Span(tuple(inside[: len(inside) - digits]), value, self.unit.length(value))
        self._spent += len(opening_of(span.topic_ids, value, self.control)) + span.length + END_TAG
        if self._spent <= self.room:
            self.spans.append(span)
            self._kept = len(self.ids)
            if self.distinct_topics and self._digits.isdisjoint(span.topic_ids):
                self._beginnings |= set(span.topic_ids[:1])

    def _take(self, token: int) -> None:
        self.ids.append(token)
        self._spent += 1

    def _can_fit(self) -> bool:
        """Whether the round fits as it stands, with the cheapest completion of an open promise."""
        if self._open is None:
            return self._spent <= self.room
        number, _ = last_number(self._open, self.control.digits)
        if number and self._fits(number, more_tokens=1):
            return True
        # "a digit", "</topic>"; behind a number that is too large a token between, which makes it a part of the topic
        return self._fits(1, more_tokens=3 if number else 2)

    def _fits(self, number: int, more_tokens: int) -> bool:
        promise = len(self._open or ()) + more_tokens  # tokens from the topic on
        opening = 1 + (promise if self.control.repeat_promises else 0)
        return self._spent + more_tokens + opening + self.unit.length(number) + END_TAG <= self.room


def last_number(ids: Sequence[int], digits: Sequence[int]) -> tuple[int, int]:
    """Return the number that ends `ids`, and how many digits it has; (0, 0) where there is none."""
    count = 0
    while count < len(ids) and ids[-1 - count] in digits:
        count += 1
    number = 0
    for token in ids[len(ids) - count :]:
        number = 10 * number + digits.index(token)
    return number, count
