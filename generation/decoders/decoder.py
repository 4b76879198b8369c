"""A decoder's record: how it runs, what it reads, and what it needs; each decoder's file ends with its own."""

from collections.abc import Callable
from dataclasses import dataclass

from ..events import Decoding
from ..fields import FIELDS, Settings
from ..query import Request
from ..tokens import ControlTokens


def all_but_pad(control: ControlTokens, settings: Settings) -> frozenset[int]:
    """Return the ids that spans with tags may not contain: every control id but `[PAD]`, which ends a span early."""
    return control.all - {control.span_pad}


def tags_but_pad(control: ControlTokens, settings: Settings) -> frozenset[int]:
    """Return the ids that an answer without tags may not contain: the tags; EOS and `[PAD]` end it."""
    return control.tags - {control.span_pad}


@dataclass(frozen=True)
class Decoder:
    """A way to write an answer, by its properties.

    Attributes:
        run: generator function of a `Request`: it yields queries and events, and knows no model.
        summary: says in a few words how it writes.
        source: paper, or the equivalence that it is tested for.
        reads: names of the fields that it reads, beside those that every decoder reads.
        plans: it drafts a plan, or fills a given one.
        fills_canvas: it fills partly written spans around known text.
        needs_mask: it writes into blanks, so the checkpoint must have a mask token and EOS.
        takes_assistant: an `assistant_model` may score its drafts.
        left_to_right: under a `Lockstep` every query wants the next token and nothing else, so the rows of a batch may
            go in lockstep.
        revises: a span that is closed may be opened again, until its round is closed.
        suppressed: ids that spans may not contain where the caller does not say.

    Raises:
        ValueError: `reads` names a field that FIELDS does not have.
    """

    run: Callable[[Request], Decoding]
    summary: str
    source: str
    reads: tuple[str, ...] = ()
    plans: bool = False
    fills_canvas: bool = False
    needs_mask: bool = True
    takes_assistant: bool = False
    left_to_right: bool = False
    revises: bool = False
    suppressed: Callable[[ControlTokens, Settings], frozenset[int]] = tags_but_pad

    def __post_init__(self) -> None:
        unknown = [name for name in self.reads if name not in FIELDS]
        if unknown:
            raise ValueError(f"A decoder reads {unknown[0]}, which is no field of generate; add it to FIELDS.")

    @property
    def asks_processors(self) -> bool:
        """Whether it writes tokens left to right, whose scores logits processors may change: a plan, or all."""
        return self.plans or self.left_to_right
