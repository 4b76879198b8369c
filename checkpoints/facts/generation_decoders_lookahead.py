"""Plans several tokens per forward, exactly: guesses how the plan goes on, and keeps what the model would have written.

A plan repeats itself: numbers, tags, words of the prompt. So the next forward runs, behind the last token, those that
followed it when it last occurred (prompt lookup decoding), and every row is drawn as if it were the last: the first one
that differs from its guess is the token to write, and the guesses behind it are dropped. With `plan_lookahead=0`
nothing is guessed; any number writes the same plan.
"""

from collections.abc import Sequence

from .generation_plan import Allowed, RoundGrammar
from .generation_tokens import ControlTokens

LONGEST_MATCH = 3


def look_ahead(grammar: RoundGrammar, written: Sequence[int], most: int) -> tuple[list[int], list[Allowed]]:
    """Up to `most` tokens that the plan may go on with, and what may be drawn at each and behind the last.

    Args:
        grammar: of the round; it is not changed.
        written: prompt and plan so far.
    """
    ahead, guesses, allowed = grammar.copy(), [], [grammar.allowed()]
    while len(guesses) < most:
        token = _guess([*written, *guesses], ahead.in_promise, grammar.tokens)
        if token is None or token not in allowed[-1] or not ahead.push(token):
            break
        guesses.append(token)
        allowed.append(ahead.allowed())
    return guesses, allowed


def _guess(written: list[int], in_promise: bool, tokens: ControlTokens) -> int | None:
    """The token behind: a tag where the grammar suggests one, else what followed the longest match."""
    if not in_promise:
        return tokens.promise_start
    if written[-1] in tokens.digits:
        return tokens.topic_end
    for length in range(min(LONGEST_MATCH, len(written) - 1), 0, -1):
        end = written[-length:]
        for start in range(len(written) - length - 1, -1, -1):
            if written[start : start + length] == end:
                return written[start + length]
    return None
