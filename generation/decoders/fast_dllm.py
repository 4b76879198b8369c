"""Fast-dLLM: plain diffusion block by block, with a cache that is refreshed at block ends (arXiv 2505.22618).

    prompt  The city | [MASK] [MASK] | [MASK] [MASK]             entering a block, all of the answer is run ...
                       of     [MASK]   ......   ......           ... and then the block alone ("dual": the suffix is
                                                                 cached as well), or the block and what follows
                                                                 ("prefix"), or everything ("none")

Labels: those of `diffusion`; the whole answer is one span, and blocks only say which blanks are written.
Cache: approximate by design. Inside a block the states outside are those of its first step; with "none", or with one
block for everything, it is exact.

A step writes every blank of the block that reaches `confidence_threshold`, and at least one, or goes by
`unmasking_rule="factor"`. The token before a block predicts its first one, so it runs along until that is written
(the published code for Dream writes that token in the block's first step instead). The forward that refreshes the cache
is the first step of the next block, as in the paper.
"""

from collections.abc import Callable

from ..events import BlanksPlaced, Decoding, PlacedSpan
from ..query import Request
from .canvas import Canvas
from .decoder import Decoder
from .diffusion import UNTAGGED_FIELDS, fill

# `block_cache` -> positions that every step inside a block runs, from (answer, block)
RUN_IN_BLOCK: dict[str, Callable[[PlacedSpan, PlacedSpan], range]] = {
    "dual": lambda answer, block: block.positions,
    "prefix": lambda answer, block: range(block.start, answer.stop),
    "none": lambda answer, block: answer.positions,
}


def fast_dllm(request: Request) -> Decoding:
    """Answer one request."""
    settings = request.settings
    canvas = Canvas(request)
    answer = canvas.lay_out_block(settings.max_new_tokens)
    yield BlanksPlaced(canvas.round, (answer,))
    for start in range(answer.start, answer.stop, settings.block_size):
        block = PlacedSpan(0, (), start, min(start + settings.block_size, answer.stop))
        canvas.stale.update(answer.positions)
        yield from fill(canvas, block, request, changed=RUN_IN_BLOCK[settings.block_cache](answer, block))
        if canvas.prose.stopped or canvas.prose.is_complete:
            break
    yield canvas.prose.ended(canvas.prose.outcome)


FAST_DLLM = Decoder(
    run=fast_dllm,
    summary="the whole answer blank, filled block by block with a prefix or dual cache",
    source="Fast-dLLM, 2505.22618",
    reads=(*UNTAGGED_FIELDS, "block_size", "block_cache"),
)
