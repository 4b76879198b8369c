"""Plan several tokens per forward, exactly: guess how the plan goes on, and keep the tokens that the model confirms.

A plan repeats itself: numbers, tags, words of the prompt. So the next forward runs, behind the last token, the tokens
that followed it when it last occurred (prompt lookup decoding), and every row is drawn as if it were the last: the
first one that differs from its guess is the token to write, and the guesses behind it are dropped. With
`plan_lookahead=0` nothing is guessed; any number writes the same greedy plan.
"""

from collections.abc import Generator, Sequence

from ..events import Event
from ..grammar import RoundGrammar
from ..query import Query, Reply, Request
from ..tokens import Allowed, ControlTokens
from .canvas import Canvas

LONGEST_MATCH = 3
SEARCHED = 512  # tokens back from the end


def next_tokens(
    canvas: Canvas, grammar: RoundGrammar, request: Request, may_decline: bool
) -> Generator[Query | Event, Reply, list[int]]:
    """Draw the next token of the plan, in front of it the guesses that were right; at least one token.

    Args:
        grammar: of the round; it is not changed.
        may_decline: the first token may begin plain text instead.
    """
    # A logits processor is asked with the tokens before one row, so nothing is guessed under one.
    guesses, allowed = look_ahead(grammar, canvas.ids, 0 if request.process else request.settings.plan_lookahead)
    if may_decline:
        allowed[0] = Allowed(only=False, ids=request.control.tags - {request.control.promise_start})
    end = len(canvas.ids)
    canvas.append(guesses)
    predict = list(range(end, end + len(allowed)))
    process = request.process_after(canvas.ids)
    reply = yield canvas.query(canvas.stale, predict, allowed if guesses else allowed[0], "planning", process=process)
    canvas.take_back(end)
    agreeing = next((index for index, guess in enumerate(guesses) if reply.token_ids[index] != guess), len(guesses))
    return reply.token_ids[: agreeing + 1]


def look_ahead(grammar: RoundGrammar, written: Sequence[int], most: int) -> tuple[list[int], list[Allowed]]:
    """Guess up to `most` tokens of the plan; return them, and the tokens allowed at each and behind the last.

    Args:
        grammar: of the round; it is not changed.
        written: prompt and plan so far.
    """
    ahead, seen, allowed = grammar.copy(), list(written[-SEARCHED:]), [grammar.allowed()]
    guesses = []
    while len(guesses) < most:
        token = _guess(seen, ahead.in_promise, grammar.control)
        if token is None or token not in allowed[-1] or not ahead.push(token):
            break
        guesses.append(token)
        seen.append(token)
        allowed.append(ahead.allowed())
    return guesses, allowed


def _guess(seen: list[int], in_promise: bool, control: ControlTokens) -> int | None:
    """Guess the next token: a tag where the grammar suggests one, else the token behind the latest longest match."""
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
    return best
