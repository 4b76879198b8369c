"""Partly filled spans: known text between blanks, for infilling, cloze prompts and forms.

["The capital of Kenya is ", Blank(4), "."]                                          a gap of at most 4 tokens
['{"name": "', Blank(8), '", "code": "', Blank(2, exact=True), '"}']                 a form
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from .tokens import ControlTokens

MOST_TOKENS = 2**20  # of a blank; more than any model has positions for, and a span can still be laid out


@dataclass(frozen=True)
class Blank:
    """Room for `tokens` tokens; fewer may be written, `[PAD]` filling the rest, unless it is `exact`."""

    tokens: int
    exact: bool = False


@dataclass(frozen=True)
class Skeleton:
    """The content of a span before it is filled.

    ids: tokens, the mask where something is to be written.
    exact: indices of blanks that may not hold a `[PAD]`.
    """

    ids: tuple[int, ...]
    exact: frozenset[int]


def read_skeleton(pieces: Sequence, control: ControlTokens, encode: Callable[[str], Sequence[int]]) -> Skeleton:
    """Read the content of a span from pieces in order: text, token ids, or `Blank`s. A text is encoded by itself.

    Raises:
        ValueError: a piece of another kind, a blank below one token or larger than any model could fill, text with
            control tokens, or no blank at all.
    """
    ids, exact = [], set()
    for piece in pieces:
        if isinstance(piece, Blank):
            if isinstance(piece.tokens, bool) or not isinstance(piece.tokens, int) or piece.tokens < 1:
                raise ValueError(f"A blank has room for {piece.tokens!r} tokens; give a whole number of at least 1.")
            if piece.tokens > MOST_TOKENS:
                raise ValueError(f"A blank has room for {piece.tokens} tokens; give {MOST_TOKENS} at most.")
            exact.update(range(len(ids), len(ids) + piece.tokens) if piece.exact else ())
            ids += [control.mask] * piece.tokens
        elif isinstance(piece, str):
            ids += encode(piece)
        elif isinstance(piece, (list, tuple)) and all(type(token) is int for token in piece):
            inside = control.all.intersection(piece)
            if inside:
                raise ValueError(f"A canvas holds control token {min(inside)} as text; leave it out.")
            ids += piece
        else:
            raise ValueError(f"A piece of a canvas is {piece!r}; give text, token ids, or Blank(tokens).")
    if control.mask not in ids:
        raise ValueError("A canvas has no blanks, so there is nothing to write; put a Blank(tokens) into it.")
    return Skeleton(tuple(ids), frozenset(exact))
