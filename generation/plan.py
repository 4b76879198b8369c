"""Plans: their nouns, how they are spelled, and how they are read and written.

Glossary (one word per concept, here and everywhere):

    answer    what the model writes after the prompt: rounds, then EOS
    round     promises, then as many spans in the same order, then a terminator: `<sync/>` (a round follows) or EOS
    promise   `<promise>-<topic>` topic number `</topic>`: announces a span
    opening   the tokens of a span before its content; they are given, and no part of the answer's text
    number    the last number of a promise; its span gets number x unit x `length_scale` tokens of room
    span      `<async>` content [PAD]* `</async>`: a part of the answer that is denoised with all others of its round;
              where a checkpoint repeats promises, `<async>` topic number `</topic>` content [PAD]* `</async>`
    plan      the promises of every round
    blank     a position that holds the mask token
    written   a blank that received a token; written tokens stay
    commit    running a finished span once more with its final tokens, for later rounds to read from the cache
    step      one forward over the open spans of a round
    room      tokens that may still be written (of `max_new_tokens`)
    part      one (topic, length) entry of a plan, as a caller gives it
    control   the control tokens of a checkpoint

Grammar (grammar.py): arXiv 2510.18087, section 3.1.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from .skeleton import Kept, Skeleton, kept_skeleton, read_skeleton
from .tokens import ControlTokens


class PlanError(ValueError):
    """A plan that the grammar does not allow, or that does not fit."""


@dataclass(frozen=True)
class Span:
    """A promised part: its topic's ids (without the number), the promised number, and its room in tokens.

    `skeleton` is the text that stands in it already; None for nothing.
    """

    topic_ids: tuple[int, ...]
    number: int
    length: int
    skeleton: Skeleton | None = None


@dataclass(frozen=True)
class Round:
    """A round's spans, the ids of its promises as written, and its terminator: `<sync/>`, EOS, or None (no room)."""

    spans: tuple[Span, ...]
    plan_ids: tuple[int, ...]
    terminator: int | None


@dataclass(frozen=True)
class Plan:
    """A whole plan, round after round; pass one to `generate(plan=...)` to fill it."""

    rounds: tuple[Round, ...]


@dataclass(frozen=True)
class Unit:
    """Tokens of room per promised number: the checkpoint's `tokens_per_length_unit` times `length_scale`."""

    tokens: float

    def length(self, number: int) -> int:
        """Return the room in tokens that a promised number stands for; at least 1, never short of number x unit."""
        return max(1, math.ceil(number * self.tokens - 1e-9))

    def number(self, length: int) -> int:
        """Return the number that promises at least `length` tokens."""
        return max(1, math.ceil(length / self.tokens - 1e-9))


def render_promise(topic_ids: Sequence[int], number: int, control: ControlTokens) -> tuple[int, ...]:
    """Return the ids of one promise; the number digit by digit."""
    digits = (control.digits[int(digit)] for digit in str(number))
    return (control.promise_start, *topic_ids, *digits, control.topic_end)


def opening_of(topic_ids: Sequence[int], number: int, control: ControlTokens) -> tuple[int, ...]:
    """Return what stands before the content of a span: `<async>`, and its promise where the checkpoint repeats it.

    A span sees the whole plan, and only its position tells which promise is its own: the lengths before it must be
    added up. Small models do not learn that; one that repeats promises reads topic and number in the span itself.
    """
    again = render_promise(topic_ids, number, control)[1:] if control.repeat_promises else ()
    return (control.async_start, *again)


def parse_round(ids: Sequence[int], control: ControlTokens, unit: Unit) -> Round:
    """Read the promises of one round and its terminator, as a model would write them.

    Raises:
        PlanError: no promise, a promise without number or never closed, zero length, tags inside a promise, anything
            between promises, or no terminator.
    """
    ids = tuple(ids)
    if not ids or ids[-1] not in (control.sync, *control.eos):
        raise PlanError(
            f"This plan ends in {ids[-1] if ids else 'nothing'}; a round's plan ends in <sync/> ({control.sync}) when "
            f"another round follows, or in EOS ({control.eos[0]})."
        )
    spans, at, last = [], 0, len(ids) - 1
    while at < last:
        if ids[at] != control.promise_start:
            raise PlanError(
                f"Token {ids[at]} stands at place {at} of the plan, outside every promise; a plan is promises "
                f"(starting with {control.promise_start}) and a terminator, nothing else."
            )
        try:
            stop = ids.index(control.topic_end, at + 1, last)
        except ValueError:
            raise PlanError(
                f"The promise at place {at} of the plan is never closed; end it with </topic> ({control.topic_end})."
            ) from None
        spans.append(_parse_promise(ids[at + 1 : stop], at, control, unit))
        at = stop + 1
    if not spans:
        raise PlanError("This plan promises nothing; give at least one promise, or leave the plan out.")
    return Round(tuple(spans), ids[:-1], ids[-1])


def _parse_promise(inside: tuple[int, ...], place: int, control: ControlTokens, unit: Unit) -> Span:
    """Read the ids between a promise's two tags; the number is the last run of digits in them."""
    nested = [token for token in inside if token in control.all]
    if nested:
        raise PlanError(
            f"The promise at place {place} of the plan has control token {nested[0]} inside; promises do not nest."
        )
    stop = len(inside)
    while stop and inside[stop - 1] not in control.digits:
        stop -= 1
    start = stop
    while start and inside[start - 1] in control.digits:
        start -= 1
    if start == stop:
        raise PlanError(f"The promise at place {place} of the plan has no number; write its length before </topic>.")
    if stop - start > MOST_DIGITS:
        raise PlanError(
            f"The promise at place {place} of the plan has a number of {stop - start} digits; promise less."
        )
    number = int("".join(str(control.digits.index(token)) for token in inside[start:stop]))
    if number == 0:
        raise PlanError(f"The promise at place {place} of the plan has length 0; promise at least 1.")
    return Span(inside[:start], number, unit.length(number))


def write_round(
    parts: Sequence[tuple[str | Sequence[int], int | Sequence | Kept]],
    terminator: int,
    control: ControlTokens,
    unit: Unit,
    encode: Callable[[str], Sequence[int]],
) -> Round:
    """Write a round from (topic, length in tokens) pairs; topics are text, or ids. The length given is the room.

    In place of a length may stand a canvas, pieces of text and `Blank`s, or a `Kept` text; see skeleton.py.

    Raises:
        PlanError: no parts, a part that is not such a pair, or a length below 1.
    """
    if not parts:
        raise PlanError("A round of the plan is empty; give at least one (topic, length in tokens) pair.")
    spans, plan_ids = [], []
    for part in parts:
        span = _promised(part, control, unit, encode)
        spans.append(span)
        plan_ids += render_promise(span.topic_ids, span.number, control)
    return Round(tuple(spans), tuple(plan_ids), terminator)


def _promised(part: Any, control: ControlTokens, unit: Unit, encode: Callable[[str], Sequence[int]]) -> Span:
    """Read one part, (topic, length in tokens) or (topic, canvas)."""
    if isinstance(part, str) or not isinstance(part, Sequence) or len(part) != 2:
        raise PlanError(f"A part of the plan is {part!r}; give a (topic, length in tokens) pair.")
    topic, length = part
    skeleton = None
    if isinstance(length, Kept):
        skeleton = kept_skeleton(length, control, encode)
    elif isinstance(length, (list, tuple)):
        skeleton = read_skeleton(length, control, encode)
    length = len(skeleton.ids) if skeleton else length
    if isinstance(length, bool) or not isinstance(length, int) or length < 1:
        raise PlanError(
            f"The part {topic!r} of the plan has length {length!r}; give a whole number of tokens, at least 1."
        )
    if length >= 10**MOST_DIGITS:
        raise PlanError(f"The part {topic!r} of the plan has a length of more than {MOST_DIGITS} digits; promise less.")
    # The space separates topic and number, as in "definition 3".
    topic_ids = tuple(encode(f"{topic} ")) if isinstance(topic, str) else _ids(topic)
    if topic_ids and topic_ids[-1] in control.digits:
        raise PlanError(f"The topic {topic!r} ends in a digit, which would run into the number; put a space behind it.")
    if control.all.intersection(topic_ids):
        raise PlanError(f"The topic {topic!r} contains control tokens; a topic is ordinary text.")
    return Span(topic_ids, unit.number(length), length, skeleton)


def _ids(topic: object) -> tuple[int, ...]:
    if not isinstance(topic, Sequence) or not all(type(token) is int for token in topic):
        raise PlanError(f"The topic {topic!r} is neither text nor a list of token ids; give one of them.")
    return tuple(topic)


MOST_DIGITS = 12  # of a given number: more is a mistake, and would not fit any model
