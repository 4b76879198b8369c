"""Drafts: several tokens per forward where text is written left to right, and not one token changed.

One forward checks the guesses of the last one and makes the next. With `x` the last written token, `d1 d2` the guesses
for what follows, and two blanks per group:

    runs        x    d1   d2  |  # #  |  # #  |  # #        a group of blanks behind x, behind d1, behind d2
    predicts    t1   t2   t3  |  what follows if t1 alone is right, if d1 was, if d1 and d2 were

t1 is written, and behind it as long as the guesses agree (d1 = t1, ...) one more token; the group behind the last
token that agreed has guessed what comes next. Every token is drawn from the row that left-to-right decoding would draw
it from, so the text is the same at temperature 0, and a sample of the same distribution above it.

Where the last two tokens have stood before, what followed them then is another guess (prompt_lookup.py), and the one
that is made where such guesses have been right more often; also behind a guess of the blanks.

Rows are free up to some width of the forward, and are spent where they promise most (`Drafting.prepare`): a blank that
guesses the i-th token ahead behind j agreeing guesses is worth the probability that exactly j agree, times that of i
right guesses in a row. Both are counted as the request goes on (acceptance.py); where guesses fail, none are made.

Labels: blanks run in a stream of their own (visibility.py, DRAFT), and leave no states behind.
Source: verification and drafting in one forward as in arXiv 2511.08923 (TiDAR) and 2507.11851; in parts, ours.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from ..events import DraftsChecked
from ..fields import Settings
from ..query import WORTH_A_ROW, Query, Reply
from ..tokens import Allowed
from .acceptance import MEMORY, Acceptance
from .canvas import Canvas
from .prompt_lookup import PromptLookup

# That every decoder with drafts reads.
DRAFT_FIELDS = ("draft_tokens", "draft_lookup", "draft_rows", "draft_acceptance")
MOST_GUESSES = 256  # per thread, whatever the fields say: twice the rows that are for guesses on a GPU
LOOKUPS_RIGHT = 0.6  # share of first guesses that are right (SmolLM2-135M: lists 0.65, stories 0.55)


@dataclass(eq=False)
class Thread:
    """One place where text is written left to right: a span, or what stands outside spans.

    Attributes:
        next: position that is written next; what stands before it is final.
        stop: the end of its room.
        drafted: what blanks guessed for `next` and what follows.
        found: what the lookup guessed.
        guesses: the beginning of one of both, which the next forward checks.
        blanks: how many run behind each number of agreeing guesses, none agreeing first.
        read: position up to which the lookup knows the text.
    """

    next: int
    stop: int
    drafted: list[int] = field(default_factory=list)
    found: list[int] = field(default_factory=list)
    guesses: list[int] = field(default_factory=list)
    blanks: list[int] = field(default_factory=list)
    read: int = field(init=False)

    def __post_init__(self) -> None:
        self.read = self.next

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
        self.drafted = list(guesses[agreed])
        return agreed


@dataclass
class Pace:
    """How many tokens a request's forwards write, and how many rows they take; the latest count most."""

    tokens: float = 1.0
    rows: float = 1.0

    def learn(self, tokens: int, rows: int) -> None:
        """Take in a forward."""
        self.tokens += (1 - MEMORY) * (tokens - self.tokens)
        self.rows += (1 - MEMORY) * (rows - self.rows)

    def worth(self, alone: float, shared: bool = False) -> float:
        """Return how many tokens a row must save where forwards are like this.

        A forward of r rows takes 1 + c r and writes t tokens; a further row is worth its time where it saves more than
        the share of a token that its own share of the time would write: c / (1 + c r) t.

        Args:
            alone: the same for a row beside a single one, c / (1 + c).
            shared: other requests' rows, which are not known here, take their part of the forward: r counts as 1.
        """
        return min(1.0, self.tokens * alone / (1 - alone + alone * (1 if shared else self.rows)))


class Drafting:
    """The drafts of a request: plans each forward of its threads, and reads the reply.

    Args:
        canvas: its canvas.
        most: guesses of blanks per thread, at most (and at most MOST_GUESSES); 0 for none.
        settings: says how many rows of a forward are for guesses (`draft_rows`; None: what suits the device), and how
            many guesses are expected to be right.
        lookups: guesses of the lookup per thread, at most (the same); 0 for none.
    """

    def __init__(self, canvas: Canvas, most: int, settings: Settings, lookups: int = 0) -> None:
        most, lookups = min(most, MOST_GUESSES), min(lookups, MOST_GUESSES)
        self.canvas, self.most, self.rows = canvas, most, settings.draft_rows
        self.acceptance = Acceptance(most, settings.draft_acceptance)
        self.lookup, self.lookup_acceptance = PromptLookup(canvas, lookups), Acceptance(lookups, LOOKUPS_RIGHT)
        self.free_rows, self.worth_a_row = most + 1, WORTH_A_ROW  # until the first forward has said how it is
        self.pace = Pace()

    def prepare(self, threads: Sequence[Thread], keep_all: bool = False) -> None:
        """Decide which guesses the next forward checks, and where blanks run: as many as there are free rows.

        Args:
            keep_all: check the guesses that the threads hold, all of them, whether their rows are free or not.
        """
        each, rates = max(1, self.free_rows // len(threads)), {}
        for thread in threads:
            rates[thread] = self._all_kept(thread) if keep_all else self._guess(thread, each - 1)
            thread.blanks = [0] * (len(thread.guesses) + 1)
        worth_a_blank = 2 * self.worth_a_row / (1 + self.worth_a_row)  # its own row, and the one that checks its guess
        self.acceptance.try_again(any(thread.drafted for thread in threads), worth_a_blank)
        spare = self.free_rows - sum(len(thread.blanks) for thread in threads)
        worth = sorted(
            (
                (chance * self.acceptance.rates[length], -length, number, agreed)
                for number, thread in enumerate(threads)
                for agreed, chance in enumerate(_chances(rates[thread]))
                for length in range(1, min(self.most, thread.stop - thread.next - 1 - agreed) + 1)
            ),
            reverse=True,
        )
        for value, _, number, agreed in worth[: max(0, spare)]:
            threads[number].blanks[agreed] += value >= worth_a_blank

    def _all_kept(self, thread: Thread) -> list[float]:
        """Return how likely the first 0, 1, ... guesses are right that a thread holds, whoever made them."""
        known = self.acceptance.rates
        return [known[min(length, len(known) - 1)] for length in range(len(thread.guesses) + 1)]

    def _guess(self, thread: Thread, rows: int) -> list[float]:
        """Choose a thread's guesses, so many at most; return how likely the first 0, 1, ... are right.

        At each step the likelier of both goes on: the next guess of the blanks, if theirs were taken so far, or those
        of the lookup.
        """
        self.lookup.read(thread.read, thread.next)
        thread.read, thread.found = thread.next, self.lookup.guesses(thread.next)
        chain, rates = [], [1.0]
        room = max(0, min(rows, thread.stop - thread.next - 1, max(self.most, self.lookup.most)))
        found, has_more = thread.found, True
        while has_more and len(chain) < room:
            more = slice(len(chain), len(chain) + 1) if thread.drafted[: len(chain)] == chain else slice(0)
            by_blanks = self.acceptance.shares[more], thread.drafted[more]
            by_lookup = self.lookup_acceptance.shares[: len(found)], found
            shares, guesses = max(by_lookup, by_blanks, key=lambda one: one[0][:1])
            has_more = bool(guesses)
            for guess, share in zip(guesses[: room - len(chain)], shares, strict=False):
                if rates[-1] * share < self.worth_a_row:
                    has_more = False
                    break
                chain.append(guess)
                rates.append(rates[-1] * share)
            found = self.lookup.guesses(thread.next, chain)
        thread.guesses = chain
        return rates

    def with_blanks(self, query: Query, threads: Iterable[Thread], allowed: Allowed) -> Query:
        """Return a query for the predicted positions of the threads, in turn, with blanks behind them.

        Args:
            allowed: tokens that may be guessed.
        """
        anchors = dict(item for thread in threads for item in thread.anchors.items())
        return self.canvas.with_drafts(query, anchors, allowed)

    def read(self, threads: Sequence[Thread], reply: Reply) -> tuple[list[Reply], DraftsChecked | None]:
        """Let each thread go on; return the rows of the tokens that it writes, and an event if guesses were checked."""
        offered = [len(thread.guesses) for thread in threads]
        counts = [*(count + 1 for count in offered), *(blanks for one in threads for blanks in one.blanks)]
        pieces = iter(reply.split(counts))
        if len(reply.token_ids) < sum(counts):  # blanks whose states were NaN have said nothing
            self.acceptance.learn(self.most, 0)
        rows = [next(pieces) for _ in threads]
        written, accepted = [], []
        for thread, row in zip(threads, rows, strict=True):
            drafted = thread.drafted
            agreed = thread.take(row.token_ids, [next(pieces).token_ids for _ in thread.blanks])
            [tokens] = row.split([agreed + 1])
            written.append(tokens)
            accepted.append(agreed)
            self.acceptance.judge(drafted, tokens.token_ids)
            self.lookup_acceptance.judge(thread.found, tokens.token_ids)
        self.free_rows = reply.free_rows if self.rows is None else self.rows // reply.live
        self.pace.learn(len(threads) + sum(accepted), sum(counts))
        self.worth_a_row = self.pace.worth(reply.worth_a_row, reply.live > 1)
        checked = DraftsChecked(self.canvas.round, tuple(offered), tuple(accepted)) if any(offered) else None
        return written, checked


def _chances(rates: Sequence[float]) -> list[float]:
    """Return the probability that exactly 0, 1, ... guesses are right, of that for the first 0, 1, ... to be."""
    return [more - fewer for more, fewer in zip(rates, [*rates[1:], 0.0], strict=True)]
