"""Left to right, one token per forward: the baseline, and the way a planner writes that declines to plan.

Strictly causal, prompt included, over the same exact cache; control tags are suppressed, so the text is prose.
"""

from collections.abc import Generator
from typing import Any

from ..events import Decoding, Event, Text, TokensWritten
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
        reason = yield from write_token(canvas, request, token, score)
        token = None
    yield canvas.prose.ended(reason)


def write_token(canvas: Canvas, request: Request, token: int, score: float) -> Generator[Event, Any, str | None]:
    """Write a token at the end of the canvas; return why the answer ends with it, None where it goes on."""
    position = canvas.append_again(token, is_text=True)
    yield TokensWritten(canvas.round, (position,), (token,), (score,))
    if token in request.control.eos:
        return "eos"
    yield Text(canvas.prose.read_on())
    if canvas.prose.stopped:
        return "stop"
    return "length" if canvas.room_used >= request.settings.max_new_tokens else None


AUTOREGRESSIVE = Decoder(
    run=autoregressive,
    summary="left to right, strictly causal, exact cache",
    source="equals the native model",
    needs_mask=False,
    left_to_right=True,
)
