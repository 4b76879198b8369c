"""Block diffusion, or next-block prediction: blocks from left to right, each denoised as a whole (arXiv 2512.06776).

    prompt  The    capital  | [MASK] [MASK]                      the second block of two; the first one is final
    prompt  The    capital  | of     [MASK]
    prompt  The    capital  | of     Kenya  | [MASK] [MASK]      ... and so on, until a block holds EOS

Labels: every block is a span and a round of its own, so it sees itself in both directions and the blocks before it.
Cache: exact. A finished block runs once more with its final tokens, in the forward that starts the next one.

A block's first token is predicted by the last one of the block before it, which does not see the block. With
`block_size=1` nothing else is predicted: left-to-right decoding, token for token.
"""

from ..events import BlanksPlaced, Decoding, RoundClosed
from ..fields import Settings
from ..query import Request
from ..tokens import ControlTokens
from .canvas import Canvas
from .decoder import Decoder, tags_but_pad
from .diffusion import UNTAGGED_FIELDS, fill
from .refine import refine


def block_diffusion(request: Request) -> Decoding:
    """Answer one request."""
    settings = request.settings
    canvas = Canvas(request, hold=settings.refine_share > 0)
    while True:
        block = canvas.lay_out_block(min(settings.block_size, settings.max_new_tokens - canvas.room_used))
        yield BlanksPlaced(canvas.round, (block,))
        if settings.block_size == 1:
            canvas.stale.difference_update(block.positions)  # a lone blank predicts nothing and no token sees it
        yield from fill(canvas, block, request, changed=block.positions)
        if canvas.prose.outcome != "length" or canvas.room_used == settings.max_new_tokens:
            break
        yield RoundClosed(canvas.round)
        canvas.next_round()
    yield from refine(canvas, request)
    yield canvas.prose.ended(canvas.prose.outcome)


def suppressed(control: ControlTokens, settings: Settings) -> frozenset[int]:
    """Return the ids that blocks may not contain; a block of one token has no room for a pad behind an EOS."""
    return control.tags if settings.block_size == 1 else tags_but_pad(control, settings)


BLOCK_DIFFUSION = Decoder(
    run=block_diffusion,
    summary="block after block, exact cache; `block_size=1` is autoregressive",
    source="next-block diffusion, 2512.06776",
    reads=(*UNTAGGED_FIELDS, "block_size", "refine_share"),
    suppressed=suppressed,
)
