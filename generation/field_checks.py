"""Checks of one field's value: each raises a ValueError that says what was given, what is expected and what to do."""

import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Protocol


class Check(Protocol):
    """A check of a value, and the type that the command line reads for it.

    kind: float, int, str or bool; None for values that are given as JSON.
    """

    @property
    def kind(self) -> type | None: ...

    def __call__(self, name: str, value: object) -> None: ...


LARGEST_ID = 2**31  # a larger one is in no vocabulary


@dataclass(frozen=True)
class Number:
    """A finite number between bounds; `hint` says what it counts.

    above, at_least: lower bound, without and with equality; one of them is given.
    optional: None is allowed.
    """

    hint: str
    above: float | None = None
    at_least: float | None = None
    at_most: float | None = None
    optional: bool = False
    kind: type | None = field(default=float, init=False)

    def __call__(self, name: str, value: object) -> None:
        if (value is None and self.optional) or self._fits(value):
            return
        low = f"above {self.above}" if self.above is not None else f"of at least {self.at_least}"
        high = "" if self.at_most is None else f" and at most {self.at_most}"
        raise ValueError(f"{name} is {value!r}; give a number {low}{high} ({self.hint}).")

    def _fits(self, value: object) -> bool:
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            return False
        return abs(value) <= sys.float_info.max and (  # a whole number may be too large for a float
            (self.above is None or value > self.above)
            and (self.at_least is None or value >= self.at_least)
            and (self.at_most is None or value <= self.at_most)
        )


@dataclass(frozen=True)
class Whole:
    """A whole number of at least `at_least`."""

    at_least: int = 1
    optional: bool = False
    kind: type | None = field(default=int, init=False)

    def __call__(self, name: str, value: object) -> None:
        if value is None and self.optional:
            return
        if isinstance(value, bool) or not isinstance(value, int) or value < self.at_least:
            raise ValueError(f"{name} is {value!r}; give a whole number of at least {self.at_least}.")


@dataclass(frozen=True)
class OneOf:
    """One of a few names."""

    choices: tuple[str, ...]
    optional: bool = False
    kind: type | None = field(default=str, init=False)

    def __call__(self, name: str, value: object) -> None:
        if not (value is None and self.optional):
            check_choice(name, value, self.choices)


def check_choice(name: str, value: object, choices: Iterable[str]) -> None:
    """Check that a value is one of several names.

    Raises:
        ValueError: any other value.
    """
    if not isinstance(value, str) or value not in choices:
        raise ValueError(f"{name} is {value!r}; choose one of {', '.join(choices)}.")


@dataclass(frozen=True)
class Name:
    """A name that is looked up, and refused, where the choices are known."""

    kind: type | None = field(default=str, init=False)

    def __call__(self, name: str, value: object) -> None:
        pass


@dataclass(frozen=True)
class Switch:
    """True or False; None as well where `optional`."""

    optional: bool = False
    kind: type | None = field(default=bool, init=False)

    def __call__(self, name: str, value: object) -> None:
        if not (isinstance(value, bool) or (value is None and self.optional)):
            raise ValueError(f"{name} is {value!r}; give True or False.")


@dataclass(frozen=True)
class TokenId:
    """A token id, or None; a list of ids as well where `several`."""

    several: bool = False
    kind: type | None = field(default=None, init=False)

    def __call__(self, name: str, value: object) -> None:
        if value is None or _is_id(value) or (self.several and _are_ids(value)):
            return
        raise ValueError(f"{name} is {value!r}; give a token id{', or a list of them' if self.several else ''}.")


@dataclass(frozen=True)
class TokenIds:
    """A list of token ids, or None; `hint` says what an empty list means."""

    hint: str
    kind: type | None = field(default=None, init=False)

    def __call__(self, name: str, value: object) -> None:
        if not (value is None or _are_ids(value)):
            raise ValueError(f"{name} is {value!r}; give a list of token ids, {self.hint}.")


@dataclass(frozen=True)
class Seed:
    """A whole number below 2^63, a list with one per prompt, or None."""

    kind: type | None = field(default=int, init=False)

    def __call__(self, name: str, value: object) -> None:
        seeds = value if isinstance(value, (list, tuple)) else [value]
        if not all(seed is None or (isinstance(seed, int) and 0 <= seed < 2**63) for seed in seeds):
            raise ValueError(f"{name} is {value!r}; give a whole number of 0 or more, or one per prompt, below 2^63.")


@dataclass(frozen=True)
class Texts:
    """A text or a list of texts, none of them empty, or None."""

    kind: type | None = field(default=None, init=False)

    def __call__(self, name: str, value: object) -> None:
        if value is None:
            return
        texts = [value] if isinstance(value, str) else value
        if not (isinstance(texts, (list, tuple)) and texts and all(isinstance(text, str) and text for text in texts)):
            raise ValueError(f"{name} is {value!r}; give a text or a list of texts, none of them empty.")


@dataclass(frozen=True)
class Unchecked:
    """Any value, for fields that are checked elsewhere."""

    kind: type | None = field(default=None, init=False)

    def __call__(self, name: str, value: object) -> None:
        pass


def _are_ids(value: object) -> bool:
    return isinstance(value, (list, tuple)) and all(map(_is_id, value))


def _is_id(value: object) -> bool:
    return type(value) is int and abs(value) < LARGEST_ID
