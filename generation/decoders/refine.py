"""Draft and refine: the least sure tokens of a finished answer are written again, with everything in sight.

Diffusion in Diffusion (arXiv 2601.13599), after `planned` or `block_diffusion`, with `refine_share` above 0:

    1. draft    spans or blocks, which did not see the tokens after or beside them; every token keeps a snapshot of its
                confidence from the moment when it was written
    2. join     all spans become one: from here on every token of the answer sees all others, in both directions
    3. remask   the share of tokens with the lowest snapshots is blanked again, over the whole answer
    4. denoise  as many steps as for a span of so many blanks, by the same rule

Cache: exact. Everything from the first span on runs at every step, since everything there sees the changes.
The text is final only afterwards, so a streamer gets it at the end.
"""

from dataclasses import replace

from ..events import Decoding, PlacedSpan, TokensBlanked
from ..query import Request
from .canvas import Canvas
from .denoising import reveal_shares, step


def refine(canvas: Canvas, request: Request) -> Decoding:
    """Refine a drafted answer and hand out its text, which was held back; do nothing without `refine_share`."""
    if not canvas.prose.held:
        return
    if not canvas.prose.stopped:
        yield from rewrite(canvas, request)
    yield from canvas.prose.release()


def rewrite(canvas: Canvas, request: Request) -> Decoding:
    """Carry out steps 2 to 4."""
    blanks = least_sure(canvas, request.settings.refine_share)
    if not blanks:
        return
    answer = canvas.join_spans()
    yield TokensBlanked(canvas.round, tuple(blanks), tuple(canvas.ids[position] for position in blanks))
    canvas.make_blank(blanks)
    # A pad among the rewritten tokens must not take its neighbours along, which are written already.
    request = replace(request, settings=request.settings.but(close_padding=False))
    joined = PlacedSpan(0, (), answer.start, answer.stop)
    for share in reveal_shares(canvas, [joined], request):
        yield from step(canvas, [joined], request, share)
        canvas.stale.update(answer)
        if not canvas.blanks:
            return


def least_sure(canvas: Canvas, share: float) -> list[int]:
    """Return the positions with the lowest confidence when written, ascending; pads that closed a span have none."""
    stop = len(canvas.ids) if canvas.prose.end is None else canvas.prose.end + 1
    written = [position for position in canvas.confidences if position < stop]
    ranked = sorted(written, key=lambda position: (canvas.confidences[position], position))
    return sorted(ranked[: max(1, int(len(ranked) * share))])
