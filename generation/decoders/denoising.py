"""One step of masked diffusion over spans, whatever they are: parts of a plan, a block, a whole answer.

predict   the row of p - 1 predicts p: one forward over the stale tokens and the blanks' left neighbours
choose    an unmasking rule says which blanks of each span are written (unmasking.py)
write     the chosen blanks receive their tokens
"""

from collections.abc import Collection, Iterable, Iterator, Sequence

from ..events import Decoding, PlacedSpan
from ..query import Request
from ..tokens import Allowed
from .canvas import Canvas, open_blanks
from .schedule import reveal_fractions, step_count
from .unmasking import reveal


def reveal_shares(canvas: Canvas, spans: Iterable[PlacedSpan], request: Request) -> Iterator[float]:
    """Yield, step by step, the share of the remaining blanks that the schedule asks for; the last step asks for all."""
    longest = max(len(open_blanks(canvas, span)) for span in spans)
    yield from reveal_fractions(step_count(longest, request.settings.steps_ratio))


def step(
    canvas: Canvas,
    spans: Sequence[PlacedSpan],
    request: Request,
    share: float,
    run: Iterable[int] | None = None,
    closers: Collection[int] = (),
) -> Decoding:
    """Write some blanks of every span in one forward; the caller marks the positions that this makes stale.

    Args:
        share: see `reveal_shares`.
        run: positions to run; by default the stale ones and the left neighbours of the blanks.
        closers: tokens beside `[PAD]` behind which only pads can follow: EOS, in answers without tags.
    """
    blanks = [open_blanks(canvas, span) for span in spans]
    predict = [position for of_span in blanks for position in of_span]
    if run is None:
        run = canvas.stale | {position - 1 for position in predict}
    allowed = Allowed(only=False, ids=request.settings.suppress_in_spans)
    reply = yield canvas.query(run, predict, allowed, "denoising")
    written = {}
    for span, of_span, drawn in zip(spans, blanks, reply.split(map(len, blanks)), strict=True):
        written |= reveal(span, of_span, drawn, share, request, closers)
    yield canvas.write(written)
