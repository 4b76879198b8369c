"""Left to right, one token per forward: the baseline, and what a planner does that declines to plan.

Strictly causal, prompt included, over the same exact cache; control tags are suppressed, so the text is prose.
"""

from ..events import Text, TokensWritten
from ..query import Request
from ..tokens import Allowed
from .canvas import Canvas

READS = ()


def autoregressive(request: Request):
    """Generator of queries and events for one request."""
    canvas = Canvas(request.prompt_ids, request.tokens, request.separator_ids)
    yield from write_on(canvas, request)


def write_on(canvas: Canvas, request: Request, first: int | None = None):
    """Writes text at the end of the canvas until EOS, the budget, or a stopping criterion; `first` is drawn already."""
    prose = Allowed(only=False, ids=request.tokens.tags)
    reason, token = None, first
    canvas.held = False
    while reason is None:
        score = 0.0
        if token is None:
            query = canvas.query(canvas.stale, [len(canvas.ids)], prose, "decoding", request.process)
            reply = yield query
            token, score = reply.token_ids[0], reply.confidences[0]
        (position,) = canvas.append([token], text=True)
        yield TokensWritten(canvas.round, (position,), (token,), (score,))
        if token in request.tokens.eos:
            reason = "eos"
        else:
            yield Text(canvas.read_on(request.should_stop))
            if canvas.stopped:
                reason = "stop"
            elif canvas.written() >= request.settings.max_new_tokens:
                reason = "length"
        token = None
    yield canvas.ended(reason)
