"""Draft and refine: what a finished answer is least sure of is written again, with everything in sight.

Diffusion in Diffusion (arXiv 2601.13599), after `planned` or `block_diffusion`, with `refine_share` above 0:

    1. draft    spans or blocks, that did not see what came after or beside them; every token keeps a snapshot of its
                confidence from the moment when it was written
    2. join     all spans become one: from here on every token of the answer sees all others, in both directions
    3. remask   the share of tokens with the lowest snapshots is blanked again, over the whole answer
    4. denoise  as many steps as for a span of so many blanks, by the same rule

Cache: exact. Everything from the first span on runs at every step, since everything there sees what changes.
The text is final only afterwards, so a streamer gets it at the end.
"""

from dataclasses import replace

from ..events import PlacedSpan, Text, TokensBlanked
from ..query import Request
from ..tokens import Allowed
from .canvas import Canvas
from .schedule import reveal_fractions, step_count
from .unmasking import reveal


def refine(canvas: Canvas, request: Request):
    """Refines a drafted answer and hands out its text, which was held back; nothing to do without `refine_share`."""
    if not canvas.held:
        return
    if not canvas.stopped:
        yield from rewrite(canvas, request)
    text = canvas.release(request.should_stop)
    if text:
        yield Text(text)


def rewrite(canvas: Canvas, request: Request):
    """Steps 2 to 4."""
    blanks = least_sure(canvas, request.settings.refine_share)
    if not blanks:
        return
    answer = canvas.join_spans()
    yield TokensBlanked(canvas.round, tuple(blanks), tuple(canvas.ids[position] for position in blanks))
    canvas.blank(blanks)
    request = replace(request, settings=replace(request.settings, close_padding=False))
    allowed = Allowed(only=False, ids=request.settings.suppress_in_spans)
    joined = PlacedSpan(0, (), answer.start, answer.stop)
    for fraction in reveal_fractions(step_count(len(blanks), request.settings.steps_ratio)):
        blanks = canvas.open_blanks(joined)
        run = canvas.stale | {position - 1 for position in blanks}
        reply = yield canvas.query(run, blanks, allowed, "denoising", commits=False)
        yield canvas.write_all(reveal(joined, blanks, reply, fraction, request))
        canvas.stale.update(answer)
        if not canvas.blanks:
            return


def least_sure(canvas: Canvas, share: float) -> list[int]:
    """The positions with the lowest confidence when they were written, ascending; pads that closed a span have none."""
    stop = len(canvas.ids) if canvas.end is None else canvas.end + 1
    written = [position for position in canvas.snapshots if position < stop]
    ranked = sorted(written, key=lambda position: (canvas.snapshots[position], position))
    return sorted(ranked[: max(1, int(len(ranked) * share))])
