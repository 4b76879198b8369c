"""Rules for the values of a form: the tokens that may come next in a blank that is written from left to right.

A rule keeps a value valid at every token, and never leads to where it cannot be ended in the room that is left. A pad
ends the value. So do the tokens in `ends`, and a pad is written in their place: with them a model that was not trained
with pads goes on behind a value, as with a closing quotation mark. Sets of tokens are kept by state: there are few, and
every step asks for one per value.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from .tokens import Allowed

Written = tuple[int, ...]


class Rule(Protocol):
    """A rule for one value."""

    @property
    def ends(self) -> frozenset[int]:
        """Tokens that end the value as a pad does."""
        ...

    def allowed(self, written: Written, blanks_left: int) -> Allowed:
        """Return the tokens that may follow those that are written; never none, as long as a blank is left."""
        ...


@dataclass(frozen=True)
class Choice:
    """One of a few texts, as token ids.

    may_be_empty: the value may be left out.
    """

    texts: frozenset[Written]
    pad: int
    may_be_empty: bool = False
    ends: frozenset[int] = frozenset()

    def allowed(self, written: Written, blanks_left: int) -> Allowed:
        """Return the next tokens of the texts that begin so, and the pad where one of them is complete."""
        length = len(written)
        begun = [text for text in self.texts if text[:length] == written]
        ids = {text[length] for text in begun if len(text) > length}
        if any(len(text) == length for text in begun) or (self.may_be_empty and not written):
            ids |= {self.pad, *self.ends} if ids else {self.pad}
        return Allowed(only=True, ids=frozenset(ids))


DIGITS = "0123456789"
# State of a JSON number -> character -> next state; no exponents.
NUMBER: dict[str, dict[str, str]] = {
    "start": {"-": "sign", "0": "zero", **dict.fromkeys(DIGITS[1:], "whole")},
    "sign": {"0": "zero", **dict.fromkeys(DIGITS[1:], "whole")},
    "zero": {".": "point"},
    "whole": {".": "point", **dict.fromkeys(DIGITS, "whole")},
    "point": dict.fromkeys(DIGITS, "fraction"),
    "fraction": dict.fromkeys(DIGITS, "fraction"),
}
COMPLETE = ("zero", "whole", "fraction")


def number_state(text: str, state: str = "start") -> str | None:
    """Return the state of a JSON number behind a text; None where it is none."""
    for character in text:
        following = NUMBER[state].get(character)
        if following is None:
            return None
        state = following
    return state


@dataclass(frozen=True)
class NumberText:
    """A JSON number, without exponent.

    texts: the tokens that it may consist of, each with its text; all digits alone are among them.
    whole: without a fraction.
    """

    texts: Mapping[int, str]
    pad: int
    whole: bool
    may_be_empty: bool = False
    ends: frozenset[int] = frozenset()
    _sets: dict[tuple[str, bool], Allowed] = field(default_factory=dict, compare=False, repr=False)

    def allowed(self, written: Written, blanks_left: int) -> Allowed:
        """Return the tokens behind which it is a number, or becomes one by a further digit for which there is room."""
        state = number_state("".join(self.texts[token] for token in written))
        assert state is not None
        key = (state, blanks_left > 1)
        if key not in self._sets:
            self._sets[key] = self._following(*key)
        return self._sets[key]

    def _following(self, state: str, may_be_open: bool) -> Allowed:
        behind = {token: number_state(text, state) for token, text in self.texts.items()}
        ids = {token for token, after in behind.items() if after and (may_be_open or after in COMPLETE)}
        if self.whole:
            ids = {token for token in ids if "." not in self.texts[token]}
        if state in COMPLETE or (self.may_be_empty and state == "start"):
            ids |= {self.pad, *self.ends}
        return Allowed(only=True, ids=frozenset(ids))


class TextTokens:
    """The tokens that a text may consist of, by their length in characters.

    Args:
        lengths: characters of each, at least 1; some have one.
        pad: ends a text; so do the tokens `ends`.
    """

    def __init__(self, lengths: Mapping[int, int], pad: int, ends: frozenset[int] = frozenset()) -> None:
        self.lengths, self.pad, self.ends = lengths, pad, ends
        self.longest = max(lengths.values())
        self._sets: dict[tuple[int, int, bool], Allowed] = {}

    def between(self, least: int, most: int, may_end: bool) -> Allowed:
        """Return the tokens of so many characters, and the pad where the text may end."""
        key = (max(1, least), min(most, self.longest), may_end)
        if key not in self._sets:
            ids = {token for token, length in self.lengths.items() if key[0] <= length <= key[1]}
            if may_end:
                ids |= {self.pad, *self.ends} if ids else {self.pad}
            self._sets[key] = Allowed(only=True, ids=frozenset(ids))
        return self._sets[key]


@dataclass(frozen=True)
class TextOf:
    """A text of `least` to `most` characters, none of which has to be escaped in JSON."""

    tokens: TextTokens
    least: int
    most: int
    may_be_empty: bool = False

    @property
    def ends(self) -> frozenset[int]:
        """Tokens that end the value as a pad does."""
        return self.tokens.ends

    def allowed(self, written: Written, blanks_left: int) -> Allowed:
        """Return the tokens with which it can still become long enough and does not become too long."""
        used = sum(self.tokens.lengths[token] for token in written)
        may_end = used >= self.least or (self.may_be_empty and not written)
        # One character per further blank is always possible; a longer token now is needed only where they are too few.
        needed = self.least - used - (blanks_left - 1)
        return self.tokens.between(min(needed, self.tokens.longest), self.most - used, may_end)
