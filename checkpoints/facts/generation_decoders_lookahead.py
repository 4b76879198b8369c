"""Plans several tokens per forward, exactly: guesses how the plan goes on, and keeps what the model would have written.

A plan repeats itself: numbers, tags, words of the prompt. So the next forward runs, behind the last token, those that
followed it when it last occurred (prompt lookup decoding), and every row is drawn as if it were the last: the first one
that differs from its guess is the token to write, and the guesses behind it are dropped. With `plan_lookahead=0`
nothing is guessed; any number writes the same greedy plan.
"""

from collections.abc import Sequence

from .generation_grammar import RoundGrammar
from .generation_tokens import Allowed, ControlTokens

LONGEST_MATCH = 3
SEARCHED = 512  # tokens back from the end


def look_ahead(grammar: RoundGrammar, written: Sequence[int], most: int) -> tuple[list[int], list[Allowed]]:
    """Up to `most` tokens that the plan may go on with, and what may be drawn at each and behind the last.

    Args:
        grammar: of the round; it is not changed.
        written: prompt and plan so far.
    """
    ahead, seen, allowed = grammar.copy(), list(written[-SEARCHED:]), [grammar.allowed()]
    guesses = []
    while len(guesses) < most:
        token = _guess(seen, ahead.in_promise, grammar.tokens)
        if token is None or token not in allowed[-1] or not ahead.push(token):
            break
        guesses.append(token)
        seen.append(token)
        allowed.append(ahead.allowed())
    return guesses, allowed


def _guess(seen: list[int], in_promise: bool, tokens: ControlTokens) -> int | None:
    """The token behind: a tag where the grammar suggests one, else what followed the (latest) longest match."""
    if not in_promise:
        return tokens.promise_start
    if seen[-1] in tokens.digits:
        return tokens.topic_end
    best, longest = None, 0
    for place in range(len(seen) - 2, -1, -1):
        length = 0
        while length < LONGEST_MATCH and length <= place and seen[place - length] == seen[-1 - length]:
            length += 1
        if length > longest:
            best, longest = seen[place + 1], length
    return best
