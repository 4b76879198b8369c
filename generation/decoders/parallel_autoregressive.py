"""Parallel autoregression: planned spans, each written left to right, one token per span and forward.

The method of PASTA (arXiv 2502.11517) and Skeleton-of-Thought (arXiv 2307.15337), on the weights and plans of planned
diffusion. Its critical path is that of planned diffusion at ratio 1: the plan, and the tokens of the longest span.

    1. draft    as `planned`
    2. lay out  as `planned`: every span has the room that was promised
    3. write    <async> The capital     | <async> The currency        one more token per span and forward
    4. commit   as `planned`

Labels: while a span is written its tokens are CAUSAL, the stream that the auxiliary next-token loss of training reads
(`span_next_token_weight`); blanks never run. For the commit they are CLEAN, as every later round sees them.
Cache: exact. A token runs once in each of the two streams.

A span ends with its first `[PAD]`, or with its room.
"""

from ..events import Decoding, PlacedSpan, SpanClosed
from ..query import Drawn, Request
from ..tokens import Allowed
from .canvas import Canvas
from .decoder import Decoder, all_but_pad
from .planned import PLANNING_FIELDS, in_rounds


def parallel_autoregressive(request: Request) -> Decoding:
    """Answer one request."""
    yield from in_rounds(request, fill=write_spans, is_dense=False)


def write_spans(canvas: Canvas, spans: tuple[PlacedSpan, ...], request: Request) -> Decoding:
    """Write all spans of a round from left to right."""
    pad = request.control.span_pad
    allowed = Allowed(only=False, ids=request.settings.suppress_in_spans)
    inside = {position for span in spans for position in span.extent}
    following = {span: span.start for span in spans}  # open span -> the position that is written next
    while following:
        run = (canvas.stale - inside) | {position - 1 for position in following.values()}
        reply = yield canvas.query(run, list(following.values()), allowed, "denoising", causal=inside)
        written = {}
        for (span, position), token, score in zip(following.items(), reply.token_ids, reply.confidences, strict=True):
            last = span.stop if token == pad else position + 1
            written[position] = Drawn(token, score, score)
            written |= {place: Drawn(pad, score, None) for place in range(position + 1, last)}
            following[span] = last
        yield canvas.write(written)
        for span in [span for span, position in following.items() if position == span.stop]:
            del following[span]
            yield SpanClosed(canvas.round, span, tuple(canvas.ids[span.start : span.stop]))
        yield from canvas.prose.new_text()
        if canvas.prose.stopped:
            break
    canvas.stale |= inside  # later rounds read CLEAN states, and only CAUSAL ones have been run


PARALLEL_AUTOREGRESSIVE = Decoder(
    run=parallel_autoregressive,
    summary="planned parts, each left to right, one token per part and forward",
    source="PASTA, 2502.11517; Skeleton-of-Thought, 2307.15337",
    reads=PLANNING_FIELDS,
    plans=True,
    suppressed=all_but_pad,
)
