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
from .drafting import Drafting, Thread
from .given_spans import close_given
from .planned import PLAN_DRAFT_FIELDS, PLANNING_FIELDS, in_rounds


def parallel_autoregressive(request: Request) -> Decoding:
    """Answer one request."""
    yield from in_rounds(request, fill=write_spans, is_dense=False)


def write_spans(
    canvas: Canvas, spans: tuple[PlacedSpan, ...], request: Request, guesses: int = 0, lookups: int = 0
) -> Decoding:
    """Write all spans of a round from left to right.

    Args:
        guesses: tokens ahead that blanks guess in each (drafting.py).
        lookups: tokens ahead that are looked up.
    """
    pad = request.control.span_pad
    allowed = Allowed(only=False, ids=request.settings.suppress_in_spans)
    inside = {position for span in spans for position in span.extent}
    drafting = Drafting(canvas, guesses, request.settings, lookups)
    threads = {span: Thread(span.start, span.stop) for span in (yield from close_given(canvas, spans))}
    opened = {position for span in threads for position in span.opened}  # runs along with the first forward
    while threads:
        writing = list(threads.values())
        drafting.prepare(writing)
        guessed = {position: token for thread in writing for position, token in thread.guessed.items()}
        predicted = [position for thread in writing for position in thread.predicted]
        run = (canvas.stale - inside) | {position - 1 for position in predicted} | opened
        opened = set()
        query = canvas.query(run, predicted, allowed, "decoding", causal=inside, guesses=guessed)
        firsts = [thread.next for thread in writing]
        rows, checked = drafting.read(writing, (yield drafting.with_blanks(query, writing, allowed)))
        if checked:
            yield checked
        written = {}
        for thread, first, row in zip(writing, firsts, rows, strict=True):
            for position, token, score in zip(range(first, thread.stop), row.token_ids, row.confidences, strict=False):
                written[position] = Drawn(token, score, score)
                if token == pad:
                    written |= {place: Drawn(pad, score, None) for place in range(position + 1, thread.stop)}
                    thread.next = thread.stop
                    break
        yield canvas.write(written)
        for span in [span for span, thread in threads.items() if thread.next == span.stop]:
            del threads[span]
            yield SpanClosed(canvas.round, span, tuple(canvas.ids[span.start : span.stop]))
        yield from canvas.prose.new_text()
        if canvas.prose.stopped:
            break
    canvas.stale |= inside  # later rounds read CLEAN states, and only CAUSAL ones have been run


PARALLEL_AUTOREGRESSIVE = Decoder(
    run=parallel_autoregressive,
    summary="planned parts, each left to right, one token per part and forward",
    source="PASTA, 2502.11517; Skeleton-of-Thought, 2307.15337",
    reads=(*PLANNING_FIELDS, *PLAN_DRAFT_FIELDS),
    plans=True,
    suppressed=all_but_pad,
)
