"""Plain masked diffusion: the whole answer starts blank and is written in any order (Dream, arXiv 2508.15487).

    prompt  [MASK] [MASK] [MASK] [MASK] [MASK] [MASK] [MASK]     `max_new_tokens` blanks, as in Dream
    prompt  The    [MASK] [MASK] Kenya  [MASK] [MASK] [MASK]     a step writes the surest of them
    prompt  The    city   of     Kenya  .      EOS    [PAD]      EOS ends the answer

Labels: the answer is one span, so its tokens see each other in both directions; there is no plan and there are no tags.
Cache: exact. The answer is run whole at every step, and the prompt never changes.

Beside Dream: our prompts are causal, as our checkpoints are trained, so the answer's first token is predicted from the
prompt alone; a step writes at least one token, where Dream's first may write none and its last several; and behind an
EOS the rest is closed at once (`close_padding`), so that no steps are spent on it.
"""

from collections.abc import Iterable

from ..events import BlanksPlaced, Decoding, PlacedSpan, SpanClosed
from ..query import Request
from .canvas import Canvas, open_blanks
from .decoder import Decoder
from .denoising import reveal_shares, step
from .unmasking import UNMASKING_FIELDS

UNTAGGED_FIELDS = (*UNMASKING_FIELDS, "suppress_in_spans")


def diffusion(request: Request) -> Decoding:
    """Answer one request."""
    canvas = Canvas(request)
    answer = canvas.lay_out_block(request.settings.max_new_tokens)
    yield BlanksPlaced(canvas.round, (answer,))
    yield from fill(canvas, answer, request, changed=answer.positions)
    yield canvas.prose.ended(canvas.prose.outcome)


def fill(canvas: Canvas, block: PlacedSpan, request: Request, changed: Iterable[int]) -> Decoding:
    """Write the blanks of a block without tags, step by step, until none is left before the answer's end.

    `changed` are the positions whose state a step makes stale, so that the next one runs them: all that see the block,
    or fewer for an approximate cache.
    """
    for share in reveal_shares(canvas, [block], request):
        yield from step(canvas, [block], request, share, closers=request.control.eos)
        canvas.stale.update(changed)
        yield from canvas.prose.new_text()
        if canvas.prose.stopped or canvas.prose.is_complete or not open_blanks(canvas, block):
            break
    yield SpanClosed(canvas.round, block, tuple(canvas.ids[block.start : block.stop]))


DIFFUSION = Decoder(
    run=diffusion,
    summary="the whole answer blank, any order",
    source="Dream, 2508.15487",
    reads=UNTAGGED_FIELDS,
)
