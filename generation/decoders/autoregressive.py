"""Left to right, one token per forward: the baseline, and the way a planner writes that declines to plan.

Strictly causal, prompt included, over the same exact cache; control tags are suppressed, so the text is prose.
"""

from ..events import Decoding, Text, TokensWritten
from ..query import Request
from ..tokens import Allowed
from .canvas import Canvas
from .decoder import Decoder


def autoregressive(request: Request) -> Decoding:
    """Answer one request."""
    yield from write_on(Canvas(request), request)


def write_on(canvas: Canvas, request: Request, first: int | None = None) -> Decoding:
    """Write text at the end of the canvas until EOS, the budget, or a stopping criterion; `first` is drawn already."""
    allowed = Allowed(only=False, ids=request.control.tags)
    reason, token, score = None, first, 0.0
    canvas.prose.held = False
    while reason is None:
        if token is None:
            process = request.process_after(canvas.ids)
            reply = yield canvas.query(canvas.stale, [len(canvas.ids)], allowed, "decoding", process=process)
            token, score = reply.token_ids[0], reply.confidences[0]
        (position,) = canvas.append([token], is_text=True)
        yield TokensWritten(canvas.round, (position,), (token,), (score,))
        if token in request.control.eos:
            reason = "eos"
        else:
            yield Text(canvas.prose.read_on())
            if canvas.prose.stopped:
                reason = "stop"
            elif canvas.room_used >= request.settings.max_new_tokens:
                reason = "length"
        token = None
    yield canvas.prose.ended(reason)


AUTOREGRESSIVE = Decoder(
    run=autoregressive,
    summary="left to right, strictly causal, exact cache",
    source="equals the native model",
    needs_mask=False,
    left_to_right=True,
)
