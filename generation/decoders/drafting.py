"""Drafts: several tokens per forward where text is written left to right, and not one token changed.

One forward checks the guesses of the last one and makes the next. With `x` the last written token, `d1 d2` the guesses
for what follows, and two blanks per group:

    runs        x    d1   d2  |  # #  |  # #  |  # #        a group of blanks behind x, behind d1, behind d2
    predicts    t1   t2   t3  |  what follows if t1 alone is right, if d1 was, if d1 and d2 were

t1 is written, and behind it as long as the guesses agree (d1 = t1, ...) one more token; the group behind the last
token that agreed has guessed what comes next. Every token is drawn from the row that left-to-right decoding would draw
it from, so the text is the same at temperature 0, and a sample of the same distribution above it.

Rows are free up to some width of the forward, and are spent where they promise most (`Drafting.prepare`): a blank that
guesses the i-th token ahead behind j agreeing guesses is worth the probability that exactly j agree, times that of i
right guesses in a row. Both are counted as the request goes on; where guesses fail, none are made.

Labels: blanks run in a stream of their own (visibility.py, DRAFT), and leave no states behind.
Source: verification and drafting in one forward as in arXiv 2511.08923 (TiDAR) and 2507.11851; in parts, ours.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from ..events import DraftsChecked
from ..fields import Settings
from ..query import WORTH_A_ROW, Query, Reply
from ..tokens import Allowed
from .canvas import Canvas

DRAFT_FIELDS = ("draft_tokens", "draft_rows", "draft_acceptance")  # that every decoder with drafts reads
PRIOR = 1.0  # counted guesses that weigh as much as what was expected of them
MEMORY = 0.95  # weight of a forward, relative to the one after it
FORWARDS_WITHOUT = 32  # before a request whose guesses failed tries again


@dataclass(eq=False)
class Thread:
    """One place where text is written left to right: a span, or what stands outside spans.

    Attributes:
        next: position that is written next; what stands before it is final.
        stop: the end of its room.
        guesses: tokens for `next` and what follows, unchecked.
        blanks: how many run behind each number of agreeing guesses, none agreeing first.
    """

    next: int
    stop: int
    guesses: list[int] = field(default_factory=list)
    blanks: list[int] = field(default_factory=list)

    @property
    def guessed(self) -> dict[int, int]:
        """The guesses by position."""
        return dict(enumerate(self.guesses, self.next))

    @property
    def predicted(self) -> list[int]:
        """Positions whose tokens are wanted: that of each guess, and the one behind."""
        return list(range(self.next, self.next + len(self.guesses) + 1))

    @property
    def anchors(self) -> dict[int, int]:
        """How many blanks run behind each position."""
        return dict(enumerate(self.blanks, self.next - 1))

    def take(self, drawn: Sequence[int], guesses: Sequence[Sequence[int]]) -> int:
        """Go on behind the guesses that were right and the token after them; return how many were right.

        Args:
            drawn: the token of each predicted position.
            guesses: of each group of blanks.
        """
        agreed = next((index for index, guess in enumerate(self.guesses) if drawn[index] != guess), len(self.guesses))
        self.next += agreed + 1
        self.guesses = list(guesses[agreed])
        return agreed


class Acceptance:
    """How likely the first i guesses are all right, as counted over a request's forwards, the latest counting most.

    The i-th guess is judged where those before it were right. A guess that was judged seldom is expected to do
    as the one before it does, so that a model that guesses well is soon trusted further ahead than it was ever tried.

    Args:
        most: guesses, at most.
        expected: share of them that is right, before any was checked (`draft_acceptance`).
    """

    def __init__(self, most: int, expected: float) -> None:
        self._expected = expected
        self._right = [0.0] * most  # of the i-th guesses that were reached, the latest counting most ...
        self._reached = [0.0] * most  # ... and all of them
        self._without = 0  # forwards since the last guess
        self.rates = self._counted()

    def learn(self, offered: int, accepted: int) -> None:
        """Take in that of `offered` guesses the first `accepted` were right."""
        for index in range(min(offered, accepted + 1, len(self._right))):
            self._right[index] = MEMORY * self._right[index] + (index < accepted)
            self._reached[index] = MEMORY * self._reached[index] + 1
        if offered:  # or a try (`try_again`) would end before its guess is checked
            self.rates = self._counted()

    def _counted(self) -> list[float]:
        """Return the probability that the first 0, 1, ... guesses are right."""
        rates, share = [1.0], self._expected
        for right, reached in zip(self._right, self._reached, strict=True):
            share = (PRIOR * share + right) / (PRIOR + reached)
            rates.append(rates[-1] * share)
        return rates

    def try_again(self, has_guesses: bool, worth: float) -> None:
        """Be told of each forward whether it checks guesses; after many without, think the next one just worth a try.

        Args:
            worth: how likely a guess must be for that; one failure takes it below.
        """
        self._without = 0 if has_guesses else self._without + 1
        if self._without > FORWARDS_WITHOUT and len(self.rates) > 1:
            self._without, self.rates[1] = 0, 1.01 * worth


class Drafting:
    """The drafts of a request: plans each forward of its threads, and reads the reply.

    Args:
        canvas: its canvas.
        most: guesses per thread, at most; 0 drafts nothing.
        settings: says how many rows of a forward are for guesses (`draft_rows`; None: what suits the device), and how
            many guesses are expected to be right.
    """

    def __init__(self, canvas: Canvas, most: int, settings: Settings) -> None:
        self.canvas, self.most, self.rows = canvas, most, settings.draft_rows
        self.acceptance = Acceptance(most, settings.draft_acceptance)
        self.free_rows, self.worth_a_row = most + 1, WORTH_A_ROW  # until the first forward has said how it is

    def prepare(self, threads: Sequence[Thread], keep_all: bool = False) -> None:
        """Decide which guesses the next forward checks, and where blanks run: as many as there are free rows.

        Args:
            keep_all: check every guess, whether its row is free or not.
        """
        rates, each = self.acceptance.rates, max(1, self.free_rows // len(threads))
        likely = sum(rate >= self.worth_a_row for rate in rates[1:])
        for thread in threads:
            if not keep_all:
                thread.guesses = thread.guesses[: min(likely, each - 1, thread.stop - thread.next - 1)]
            thread.blanks = [0] * (len(thread.guesses) + 1)
        self.acceptance.try_again(any(thread.guesses for thread in threads), self.worth_a_row)
        spare = self.free_rows - sum(len(thread.blanks) for thread in threads)
        worth = sorted(
            (
                (chance * rates[length], -length, number, agreed)
                for number, thread in enumerate(threads)
                for agreed, chance in enumerate(self._chances(len(thread.guesses)))
                for length in range(1, min(self.most, thread.stop - thread.next - 1 - agreed) + 1)
            ),
            reverse=True,
        )
        for value, _, number, agreed in worth[: max(0, spare)]:
            threads[number].blanks[agreed] += value >= self.worth_a_row

    def _chances(self, guesses: int) -> list[float]:
        """Return the probability that exactly 0, 1, ... of so many guesses are right."""
        known = self.acceptance.rates
        rates = [known[min(length, len(known) - 1)] for length in range(guesses + 1)]
        return [more - fewer for more, fewer in zip(rates, [*rates[1:], 0.0], strict=True)]

    def with_blanks(self, query: Query, threads: Iterable[Thread], allowed: Allowed) -> Query:
        """Return a query for the predicted positions of the threads, in turn, with blanks behind them.

        Args:
            allowed: tokens that may be guessed.
        """
        anchors = dict(item for thread in threads for item in thread.anchors.items())
        return self.canvas.with_drafts(query, anchors, allowed)

    def read(
        self, threads: Sequence[Thread], reply: Reply, learn: bool = True
    ) -> tuple[list[Reply], DraftsChecked | None]:
        """Let each thread go on; return the rows of the tokens that it writes, and an event if guesses were checked.

        Args:
            learn: the guesses came from blanks, so that they tell what those are worth.
        """
        offered = [len(thread.guesses) for thread in threads]
        counts = [*(count + 1 for count in offered), *(blanks for one in threads for blanks in one.blanks)]
        pieces = iter(reply.split(counts))
        if len(reply.token_ids) < sum(counts):  # blanks whose states were NaN have said nothing
            self.acceptance.learn(self.most, 0)
        rows = [next(pieces) for _ in threads]
        written, accepted = [], []
        for thread, row in zip(threads, rows, strict=True):
            agreed = thread.take(row.token_ids, [next(pieces).token_ids for _ in thread.blanks])
            written += row.split([agreed + 1])
            accepted.append(agreed)
            if learn:
                self.acceptance.learn(len(row.token_ids) - 1, agreed)
        self.free_rows = reply.free_rows if self.rows is None else self.rows // reply.live
        self.worth_a_row = reply.worth_a_row
        checked = DraftsChecked(self.canvas.round, tuple(offered), tuple(accepted)) if any(offered) else None
        return written, checked
