"""Self-verified spans: filled at once, kept as far as the model, reading left to right, would have written the same.

    1. draft    as `planned` denoises, but with few steps or a low threshold: <async> The city of of Kenya .
    2. verify   the spans run in the CAUSAL stream, all positions in one forward; every row says what comes next there:
                                                                               The city of Kenya ...
    3. keep     the tokens up to the first that differs, and in its place the one that was said;
                what follows is blank again                                    <async> The city of Kenya [MASK] [MASK]

until all is verified; then as `planned`.

The answer is that of `parallel_autoregressive`, token for token at temperature 0, and a sample of the same distribution
above it, whatever the draft is worth. What it buys is forwards: a pass costs its denoising steps and one, and advances
every span by one token or more. So it is faster where drafts agree, slower where they do not, and as good as the
model's left-to-right mode in spans: train that (`span_next_token_weight`) before choosing it.
Cache: exact.
"""

from .generation_events import PlacedSpan, Text, TokensBlanked
from .generation_query import Drawn, Reply, Request
from .generation_tokens import Allowed
from .generation_decoders_canvas import Canvas
from .generation_decoders_parallel_autoregressive import READS as PARALLEL_READS
from .generation_decoders_planned import denoise, in_rounds

READS = (
    *PARALLEL_READS, "steps_ratio", "confidence_threshold", "unmasking", "unmasking_rule", "confidence_factor",
    "entropy_bound", "window_blanks", "window_tokens", "close_padding",
)  # fmt: skip


def self_verified(request: Request):
    """Generator of queries and events for one request."""
    yield from in_rounds(request, fill=fill_and_verify, dense=False)


def fill_and_verify(canvas: Canvas, spans: tuple[PlacedSpan, ...], request: Request):
    """Writes all spans of a round."""
    allowed = Allowed(only=False, ids=request.settings.suppress_in_spans)
    inside = {position for span in spans for position in canvas.extent(span)}
    verified = {span: span.start for span in spans}  # open span -> everything before this position is final
    while verified:
        # 1. Draft. Nothing of it is text yet.
        canvas.held = True
        yield from denoise(canvas, tuple(verified), request)
        canvas.held = False
        if canvas.stopped:
            return
        # 2. Verify.
        unsure = [range(start, span.stop) for span, start in verified.items()]
        rows = [position for positions in unsure for position in positions]
        reply = yield canvas.query({position - 1 for position in rows}, rows, allowed, "scoring", causal=inside)
        canvas.stale |= inside  # CLEAN states are those of before
        # 3. Keep.
        for span, said in zip(list(verified), reply.split(map(len, unsure)), strict=True):
            verified[span] = yield from keep(canvas, range(verified[span], span.stop), said, request.tokens.span_pad)
            if verified[span] == span.stop:
                del verified[span]
        text = canvas.read_on(request.should_stop)
        if text:
            yield Text(text)
        if canvas.stopped:
            return


def keep(canvas: Canvas, positions: range, said: Reply, pad: int):
    """Keeps what agrees, corrects the first token that does not and blanks the rest; returns where the rest starts."""
    for position, token, confidence in zip(positions, said.token_ids, said.confidences, strict=True):
        if canvas.ids[position] == token != pad:
            continue
        rest = range(position, positions.stop)
        if all(canvas.ids[place] == token for place in rest):  # nothing but pads, as verified
            return positions.stop
        yield TokensBlanked(canvas.round, tuple(rest), tuple(canvas.ids[place] for place in rest))
        canvas.blank(rest)
        written = {position: Drawn(token, confidence, confidence)}
        if token == pad:
            written |= {place: Drawn(pad, confidence, None) for place in rest[1:]}
        yield canvas.write_all(written)
        return positions.stop if token == pad else position + 1
    return positions.stop
