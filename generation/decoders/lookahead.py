"""Plan several tokens per forward, exactly: guess how the plan goes on, and keep the tokens that the model confirms.

A plan repeats itself: numbers, tags, words of the prompt. So the next forward runs, behind the last token, the tokens
that followed it when it last occurred (prompt lookup decoding); behind a word that is new, the end of a promise as the
one before it ended. Every row is drawn as if it were the last: the first one that differs from its guess is the token
to write, and the guesses behind it are dropped. With `plan_lookahead=0` nothing is guessed; any number writes the same
greedy plan.
"""

from collections.abc import Generator, Sequence

from ..events import Event
from ..grammar import RoundGrammar
from ..query import Query, Reply, Request
from ..tokens import EVERYTHING, Allowed, ControlTokens
from .canvas import Canvas
from .drafting import Drafting, Thread

LONGEST_MATCH = 3
SEARCHED = 512  # tokens back from the end
LOOKUP, DRAFTS = "lookup", "drafts"  # where guesses come from
NEWEST = 0.2  # weight of the newest forward in the share of right ones


class PlanAhead:
    """Guesses for the plan of one request: by prompt lookup, and with `drafts` by blanks (drafting.py).

    Whichever has been right more often of late comes first; the lookup goes on behind it.

    Args:
        drafts: guesses by blanks, at most.
    """

    def __init__(self, canvas: Canvas, request: Request, drafts: int) -> None:
        self.canvas, self.request = canvas, request
        # A logits processor is asked with the tokens before one row, so nothing is guessed under one.
        self.lookups = 0 if request.process else request.settings.plan_lookahead
        self.drafting = Drafting(canvas, 0 if request.process else drafts, request.settings)
        self.thread = Thread(0, canvas.prompt_length + request.settings.max_new_tokens)
        self._right = {LOOKUP: 0.5, DRAFTS: 0.5}  # share of first guesses that were right

    def next_tokens(self, grammar: RoundGrammar, may_decline: bool) -> Generator[Query | Event, Reply, list[int]]:
        """Draw the next token of the plan, in front of it the guesses that were right; at least one token.

        Args:
            grammar: of the round; it is not changed.
            may_decline: the first token may begin plain text instead.
        """
        canvas, thread = self.canvas, self.thread
        guessed, source = self._guesses(grammar)
        thread.next = len(canvas.ids)
        thread.guesses, allowed = look_ahead(grammar, canvas.ids, self.lookups, guessed[source])
        thread.drafted = guessed[source] if source == DRAFTS else []  # those that are judged
        self.drafting.prepare([thread], keep_all=True)
        if may_decline:
            allowed[0] = Allowed(only=False, ids=self.request.control.tags - {self.request.control.promise_start})
        canvas.append(thread.guesses)
        process = self.request.process_after(canvas.ids)
        alike = allowed if thread.guesses else allowed[0]
        query = canvas.query(canvas.stale, thread.predicted, alike, "planning", process=process)
        reply = yield self.drafting.with_blanks(query, [thread], EVERYTHING)
        canvas.take_back(thread.next)
        for name, guesses in guessed.items():
            if guesses:
                self._right[name] += NEWEST * ((guesses[0] == reply.token_ids[0]) - self._right[name])
        (row,), checked = self.drafting.read([thread], reply)
        if checked and self.drafting.most:
            yield checked
        return row.token_ids

    def _guesses(self, grammar: RoundGrammar) -> tuple[dict[str, list[int]], str]:
        """Return the guesses of each source that the grammar allows, and the source to follow."""
        canvas, thread = self.canvas, self.thread
        if thread.next != len(canvas.ids):  # the grammar has refused tokens since
            thread.drafted = []
        guessed = {
            LOOKUP: look_ahead(grammar, canvas.ids, self.lookups)[0],
            DRAFTS: look_ahead(grammar, canvas.ids, 0, thread.drafted)[0],
        }
        return guessed, max(guessed, key=lambda source: (bool(guessed[source]), self._right[source]))


def look_ahead(
    grammar: RoundGrammar, written: Sequence[int], lookups: int, drafts: Sequence[int] = ()
) -> tuple[list[int], list[Allowed]]:
    """Guess tokens of the plan; return them, and the tokens allowed at each and behind the last.

    Args:
        grammar: of the round; it is not changed.
        written: prompt and plan so far.
        lookups: guesses of the lookup, at most.
        drafts: guesses that come first, as far as the grammar allows them.
    """
    ahead, seen, allowed = grammar.copy(), list(written[-SEARCHED:]), [grammar.allowed()]
    guesses: list[int] = []
    while len(guesses) < max(lookups, len(drafts)):
        is_draft = len(guesses) < len(drafts)
        token = drafts[len(guesses)] if is_draft else _guess(seen, ahead.in_promise, grammar.control)
        if token is None or token not in allowed[-1] or not ahead.push(token):
            break
        guesses.append(token)
        seen.append(token)
        allowed.append(ahead.allowed())
    return guesses, allowed


def _guess(seen: list[int], in_promise: bool, control: ControlTokens) -> int | None:
    """Guess the next token: a tag where the grammar suggests one, else the token behind the latest longest match.

    Where nothing matches, a topic ends: with the token that stood between topic and number in the promise before.
    """
    if not in_promise:
        return control.promise_start
    if seen[-1] in control.digits:
        return control.topic_end
    best, longest = None, 0
    for place in range(len(seen) - 2, -1, -1):
        length = 0
        while length < LONGEST_MATCH and length <= place and seen[place - length] == seen[-1 - length]:
            length += 1
        if length > longest:
            best, longest = seen[place + 1], length
    return best if longest else _before_number(seen, control)


def _before_number(seen: list[int], control: ControlTokens) -> int | None:
    """Return the token in front of the latest promise's number; None in the first promise."""
    for place in range(len(seen) - 1, 0, -1):
        if seen[place] == control.topic_end:
            return next((token for token in seen[place - 1 :: -1] if token not in control.digits), None)
    return None
