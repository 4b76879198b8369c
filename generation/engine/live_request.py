"""A request while it is in the engine: the scheduler's record, which packing and prefix sharing read."""

from dataclasses import dataclass, field

import torch

from ..events import Decoding
from ..query import Query, Sampling
from .sampling import Draft


@dataclass(eq=False)  # a request is itself, whatever its contents
class LiveRequest:
    """A request in the engine: its decoder, the query that is to run next, and what is known of its states.

    Attributes:
        document: its number; labels and slots carry it, so that requests do not see each other.
        query: set as soon as the decoder has asked for the first time.
        rest: what is left of a query of which a chunk runs first.
        noise: its own generator of random numbers; None for greedy rows.
        draft: output rows of its last query with `keep`.
        prefix: its first tokens, whose states later requests may copy once they have run.
        has_run: its first query has run, at least the tokens that others may copy.
        turn: the tick in which it last ran; 0 before its first.
    """

    document: int
    decoder: Decoding
    sampling: Sampling
    noise: torch.Generator | None
    query: Query = field(init=False, repr=False)
    rest: Query | None = None
    draft: Draft | None = None
    prefix: list[int] = field(default_factory=list)
    has_run: bool = False
    turn: int = 0
