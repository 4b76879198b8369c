"""Block diffusion, or next-block prediction: blocks from left to right, each denoised as a whole (arXiv 2512.06776).

    prompt  The    capital  | [MASK] [MASK]                      the second block of two; the first one is final
    prompt  The    capital  | of     [MASK]
    prompt  The    capital  | of     Kenya  | [MASK] [MASK]      ... and so on, until a block holds EOS

Labels: every block is a span and a round of its own, so it sees itself in both directions and the blocks before it.
Cache: exact. A finished block runs once more with its final tokens, in the forward that starts the next one.

A block's first token is predicted by the last one of the block before it, which does not see the block. With
`block_size=1` that is all there is: left-to-right decoding, token for token.
"""

from ..events import BlanksPlaced, RoundClosed
from ..query import Request
from .canvas import Canvas
from .diffusion import READS as DIFFUSION_READS
from .diffusion import fill
from .refine import refine

READS = (*DIFFUSION_READS, "block_size", "refine_share")


def block_diffusion(request: Request):
    """Generator of queries and events for one request."""
    settings = request.settings
    canvas = Canvas(request.prompt_ids, request.tokens, hold=settings.refine_share > 0)
    while True:
        block = canvas.lay_out_block(min(settings.block_size, settings.max_new_tokens - canvas.written()))
        yield BlanksPlaced(canvas.round, (block,))
        if settings.block_size == 1:
            canvas.stale.difference_update(block.positions)  # a lone blank predicts nothing and nobody sees it
        yield from fill(canvas, block, request, changed=block.positions)
        if canvas.outcome != "length" or canvas.written() == settings.max_new_tokens:
            break
        yield RoundClosed(canvas.round)
        canvas.begin_round()
    yield from refine(canvas, request)
    yield canvas.ended(canvas.outcome)
