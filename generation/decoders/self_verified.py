"""Self-verified spans: filled at once, kept as far as the model, reading left to right, would have written the same.

    1. draft    as `planned` denoises, but with few steps or a low threshold: <async> The city of of Kenya .
    2. verify   the spans run in the CAUSAL stream, all positions in one forward; every row says what comes next there:
                                                                               The city of Kenya ...
    3. keep     the tokens up to the first that differs, and in its place the one that was said;
                what follows is blank again                                    <async> The city of Kenya [MASK] [MASK]

until all is verified; then as `planned`.

The answer is that of `parallel_autoregressive`, token for token at temperature 0, and a sample of the same distribution
above it, whatever the draft is worth. The gain is in forwards: a pass costs its denoising steps and one, and advances
every span by one token or more. So it is faster where drafts agree, slower where they do not, and as good as the
model's left-to-right mode in spans: train that (`span_next_token_weight`) before choosing it.
Cache: exact.
"""

from collections.abc import Generator

from ..events import Decoding, Event, PlacedSpan, TokensBlanked
from ..query import Drawn, Query, Reply, Request
from ..tokens import Allowed
from .canvas import Canvas
from .decoder import Decoder, all_but_pad
from .given_spans import close_given
from .planned import PLAN_DRAFT_FIELDS, PLANNING_FIELDS, denoise, in_rounds
from .unmasking import UNMASKING_FIELDS


def self_verified(request: Request) -> Decoding:
    """Answer one request."""
    yield from in_rounds(request, fill=fill_and_verify, is_dense=False)


def fill_and_verify(canvas: Canvas, spans: tuple[PlacedSpan, ...], request: Request) -> Decoding:
    """Write all spans of a round."""
    allowed = Allowed(only=False, ids=request.settings.suppress_in_spans)
    inside = {position for span in spans for position in span.extent}
    # Open span -> everything before this position is final.
    verified = {span: span.start for span in (yield from close_given(canvas, spans))}
    opened = {position for span in verified for position in span.opened}  # runs along with the first check
    while verified:
        # 1. Draft. Nothing of it is text yet.
        canvas.prose.held = True
        yield from denoise(canvas, tuple(verified), request)
        canvas.prose.held = False
        if canvas.prose.stopped:
            return
        # 2. Verify.
        unsure = [range(start, span.stop) for span, start in verified.items()]
        rows = [position for positions in unsure for position in positions]
        run = {position - 1 for position in rows} | opened
        opened = set()
        reply = yield canvas.query(run, rows, allowed, "scoring", causal=inside)
        canvas.stale |= inside  # the CLEAN states are older than the draft
        # 3. Keep.
        for span, said in zip(list(verified), reply.split(map(len, unsure)), strict=True):
            verified[span] = yield from keep(canvas, range(verified[span], span.stop), said, request.control.span_pad)
            if verified[span] == span.stop:
                del verified[span]
        yield from canvas.prose.new_text()
        if canvas.prose.stopped:
            return


def keep(canvas: Canvas, positions: range, said: Reply, pad: int) -> Generator[Query | Event, Reply, int]:
    """Keep the agreeing tokens, correct the first other one and blank the rest; return where the rest starts."""
    for position, token, confidence in zip(positions, said.token_ids, said.confidences, strict=True):
        if canvas.ids[position] == token != pad:
            continue
        rest = range(position, positions.stop)
        if all(canvas.ids[place] == token for place in rest):  # nothing but pads, as verified
            return positions.stop
        yield TokensBlanked(canvas.round, tuple(rest), tuple(canvas.ids[place] for place in rest))
        canvas.make_blank(rest)
        written = {position: Drawn(token, confidence, confidence)}
        if token == pad:
            written |= {place: Drawn(pad, confidence, None) for place in rest[1:]}
        yield canvas.write(written)
        return positions.stop if token == pad else position + 1
    return positions.stop


SELF_VERIFIED = Decoder(
    run=self_verified,
    summary="planned parts filled boldly, checked left to right in the commit",
    source="ours",
    reads=(*PLANNING_FIELDS, *PLAN_DRAFT_FIELDS, *UNMASKING_FIELDS),
    plans=True,
    revises=True,
    suppressed=all_but_pad,
)
