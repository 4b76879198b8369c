"""Parallel speculation: plan and parts left to right, several tokens per forward in each, and not one token changed.

    1. draft    as `planned`, several tokens of the plan per forward
    2. lay out  as `planned`
    3. write    as `parallel_autoregressive`, in every part as many tokens as were guessed right, and one
    4. commit   as `planned`

The guesses are made by blanks behind each part's last token, in the forward that checks the guesses of the last one
(drafting.py). The answer is that of `parallel_autoregressive`, token for token at temperature 0, and a sample of the
same distribution above it, whatever the guesses are worth. An answer without a plan is written as `speculative` does.
Cache: exact.
"""

from ..events import Decoding, PlacedSpan
from ..query import Request
from .canvas import Canvas
from .decoder import Decoder, all_but_pad
from .drafting import DRAFT_FIELDS
from .parallel_autoregressive import write_spans
from .planned import PLANNING_FIELDS, in_rounds
from .speculative import write_ahead


def parallel_speculative(request: Request) -> Decoding:
    """Answer one request."""
    drafts = request.settings.draft_tokens
    yield from in_rounds(request, fill=fill_ahead, is_dense=False, write=write_ahead, drafts=drafts)


def fill_ahead(canvas: Canvas, spans: tuple[PlacedSpan, ...], request: Request) -> Decoding:
    """Write all spans of a round."""
    settings = request.settings
    yield from write_spans(canvas, spans, request, guesses=settings.draft_tokens, lookups=settings.draft_lookup)


PARALLEL_SPECULATIVE = Decoder(
    run=parallel_speculative,
    summary="planned parts, each left to right, several tokens per part and forward: guessed by blanks, checked",
    source="ours; equals parallel_autoregressive",
    reads=(*PLANNING_FIELDS, *DRAFT_FIELDS),
    plans=True,
    suppressed=all_but_pad,
)
