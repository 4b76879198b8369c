"""Spans that are filled before: known text between blanks, for infilling, cloze prompts and forms; texts that are kept.

["The capital of Kenya is ", Blank(4), "."]                                          a gap of at most 4 tokens
['{"name": "', Blank(8), '", "code": "', Blank(2, exact=True), '"}']                 a form
Kept("The capital of Kenya is Nairobi.", 24)                                         a part that is not written again
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from .tokens import ControlTokens
from .value_rules import Rule

MOST_TOKENS = 2**20  # of a blank; more than any model has positions for, and a span can still be laid out


@dataclass(frozen=True)
class Blank:
    """Room for `tokens` tokens; fewer may be written, `[PAD]` filling the rest, unless it is `exact`.

    With a `rule` it is a value that is written from left to right, and the rule says which tokens may follow.
    """

    tokens: int
    exact: bool = False
    rule: Rule | None = None


@dataclass(frozen=True)
class Kept:
    """A text that stays as it is, in place of a part's length; `tokens` promises that much room, pads filling the rest.

    With the length that the part had, all other parts see what they saw when it was written.
    """

    text: str | Sequence[int]
    tokens: int | None = None


@dataclass(frozen=True)
class Skeleton:
    """The content of a span before it is filled.

    ids: tokens, the mask where something is to be written.
    exact: indices of blanks that may not hold a `[PAD]`.
    ruled: runs of blanks that are values, each with its rule.
    """

    ids: tuple[int, ...]
    exact: frozenset[int]
    ruled: tuple[tuple[range, Rule], ...] = ()

    def has_blanks(self, control: ControlTokens) -> bool:
        """Tell whether anything is to be written."""
        return control.mask in self.ids


def read_skeleton(pieces: Sequence, control: ControlTokens, encode: Callable[[str], Sequence[int]]) -> Skeleton:
    """Read the content of a span from pieces in order: text, token ids, or `Blank`s. A text is encoded by itself.

    Raises:
        ValueError: a piece of another kind, a blank below one token or larger than any model could fill, text with
            control tokens, or no blank at all.
    """
    ids, exact, ruled = [], set(), []
    for piece in pieces:
        if isinstance(piece, Blank):
            if isinstance(piece.tokens, bool) or not isinstance(piece.tokens, int) or piece.tokens < 1:
                raise ValueError(f"A blank has room for {piece.tokens!r} tokens; give a whole number of at least 1.")
            if piece.tokens > MOST_TOKENS:
                raise ValueError(f"A blank has room for {piece.tokens} tokens; give {MOST_TOKENS} at most.")
            exact.update(range(len(ids), len(ids) + piece.tokens) if piece.exact else ())
            if piece.rule is not None:
                ruled.append((range(len(ids), len(ids) + piece.tokens), piece.rule))
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
        raise ValueError("A canvas has no blanks; put a Blank(tokens) into it, or give a text to keep as Kept(text).")
    return Skeleton(tuple(ids), frozenset(exact), tuple(ruled))


def kept_skeleton(kept: Kept, control: ControlTokens, encode: Callable[[str], Sequence[int]]) -> Skeleton:
    """Return the content of a span that stays as it is.

    Raises:
        ValueError: no text, control tokens in it, or no room, or more than any model has.
    """
    is_text = isinstance(kept.text, str)
    if not is_text and not (isinstance(kept.text, (list, tuple)) and all(type(token) is int for token in kept.text)):
        raise ValueError(f"A kept part is {kept.text!r}; give text, or token ids.")
    ids = tuple(encode(kept.text)) if isinstance(kept.text, str) else tuple(kept.text)
    inside = control.all.intersection(ids)
    if inside:
        raise ValueError(f"A kept part holds control token {min(inside)} as text; leave it out.")
    room = len(ids) if kept.tokens is None else kept.tokens
    if isinstance(room, bool) or not isinstance(room, int) or not 1 <= room <= MOST_TOKENS:
        raise ValueError(f"A kept part has room for {room!r} tokens; give a whole number from 1 to {MOST_TOKENS}.")
    return Skeleton((*ids, *[control.span_pad] * (room - len(ids))), frozenset())
