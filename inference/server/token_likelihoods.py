"""The log-probability of every token of an answer's text, as OpenAI's `logprobs` have them.

One definition for all decoders: the natural logarithm of the probability that the model gave the token in the last
forward in which its position was drawn, at temperature 1, among the tokens allowed there, before `top_k` and `top_p`.
So it depends on what the model saw then: everything to the left where text is written left to right, and beside it the
tokens of the part that were written already where blanks are filled. `self_verified` draws in its check,
`adaptive_parallel` in its scorer, `refine_share` when it writes a token again. A token that was given (in a part
that is kept) or stands between two parts was not drawn: its log-probability is 0 and it has no alternatives.
"""

from typing import Any

from transformers import PreTrainedTokenizerBase

from ...generation.events import Event, PlanDone, RowsScored, Text
from ...generation.live_state import LiveState
from ...generation.query import Request
from ..answer import Prose, read

LEAST = -9999.0  # OpenAI's number for tokens that are next to impossible; forbidden ones lie below
REPLACEMENT = "\N{REPLACEMENT CHARACTER}"


class TokenLikelihoods:
    """Folds a request's events into the log-probabilities of its text.

    Args:
        reader: decodes token ids.
        request: the request; its `sampling.top_logprobs` says how many alternatives each token has.
    """

    def __init__(self, reader: PreTrainedTokenizerBase, request: Request) -> None:
        self.reader, self.request = reader, request
        self._state, self._prose = LiveState(), Prose(reader)
        self._rows: dict[int, tuple[int, float, tuple[tuple[int, float], ...]]] = {}  # by position
        self._openings: set[int] = set()  # of all parts but the first
        self._next = len(request.prompt_ids)
        self._separators = 0  # tokens between two parts that are still to come
        self._entries: list[tuple[int, dict[str, Any]]] = []  # (place in the text where the token ends, entry)
        self._started = 0  # place in the text where the first of them begins

    def add(self, event: Event) -> None:
        """Take an event in."""
        self._state.add(event)
        if isinstance(event, RowsScored):
            rows = zip(event.token_ids, event.logprobs, event.alternatives, strict=True)
            self._rows |= zip(event.positions, rows, strict=True)
        elif isinstance(event, PlanDone):
            is_first = event.round == 0
            self._openings |= {span.opened.start for span in event.spans if not (is_first and span.index == 0)}
        elif isinstance(event, Text):
            for token in event.token_ids:
                entry = self._entry(token, self._position(token)) | {"offset": len(self._prose.text)}
                self._prose.add([token])
                self._entries.append((len(self._prose.text), entry))

    def take(self, place: int, is_over: bool) -> list[dict[str, Any]]:
        """Return the entries of the text up to a place, and of a token over that place once the answer is over.

        Each has `token`, `logprob`, `bytes` (null where it is a part of a character), `top_logprobs`, and `offset`, the
        place in the text where it begins.
        """
        taken = []
        while self._entries and (self._entries[0][0] <= place or (is_over and self._started < place)):
            self._started, entry = self._entries.pop(0)
            taken.append(entry)
        return taken

    def _position(self, token: int) -> int | None:
        """Return the position of the next token of the text; None for one that stands between two parts."""
        control = self.request.control.all
        while not self._separators:
            position, self._next = self._next, self._next + 1
            if position in self._openings:
                self._separators = len(self.request.separator_ids)
            elif self._state.tokens.get(position, self.request.control.mask) not in control:
                assert self._state.tokens[position] == token
                return position
        self._separators -= 1
        return None

    def _entry(self, token: int, position: int | None) -> dict[str, Any]:
        drawn, logprob, others = self._rows.get(-1 if position is None else position, (token, 0.0, ()))
        assert drawn == token
        alternatives = [self._spelled(*other) for other in others if other[1] > LEAST]
        return self._spelled(token, logprob) | {"top_logprobs": alternatives}

    def _spelled(self, token: int, logprob: float) -> dict[str, Any]:
        text = read(self.reader, [token], with_tags=True)
        return {
            "token": text,
            "logprob": max(logprob, LEAST),
            "bytes": None if REPLACEMENT in text else list(text.encode()),
        }
