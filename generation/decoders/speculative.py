"""Speculative decoding by the model itself: left to right, several tokens per forward, and not one token changed.

    1. ask      the last token, the guesses behind it, and blanks that guess on, all in one forward (drafting.py)
    2. write    the token that follows, and one more for each guess that was right

Labels: text and guesses are CLEAN and causal, as in `autoregressive`; blanks are drafts and leave no state behind.
Cache: exact. The states of guesses that were right are those of the text.

Under a logits processor nothing is guessed, as it is asked with the tokens before one row; nor in a batch whose rows
go in lockstep for its sake.
"""

from ..events import Decoding
from ..query import Request
from ..tokens import Allowed
from .autoregressive import write_token
from .canvas import Canvas
from .decoder import Decoder
from .drafting import DRAFT_FIELDS, Drafting, Thread


def speculative(request: Request) -> Decoding:
    """Answer one request."""
    yield from write_ahead(Canvas(request), request)


def write_ahead(canvas: Canvas, request: Request, first: int | None = None) -> Decoding:
    """Write text at the end of the canvas as `write_on` does, several tokens per forward."""
    allowed = Allowed(only=False, ids=request.control.tags)
    one_at_a_time = request.process is not None or request.lockstep is not None
    settings = request.settings
    drafts, lookups = (0, 0) if one_at_a_time else (settings.draft_tokens, settings.draft_lookup)
    drafting = Drafting(canvas, drafts, settings, lookups)
    reason = None
    canvas.prose.held = False
    if first is not None:
        reason = yield from write_token(canvas, request, first, 0.0)
    thread = Thread(len(canvas.ids), canvas.prompt_length + settings.max_new_tokens)
    while reason is None:
        end = thread.next
        drafting.prepare([thread])
        canvas.append(thread.guesses)
        process = request.process_after(canvas.ids)
        query = canvas.query(canvas.stale, thread.predicted, allowed, "decoding", process=process)
        reply = yield drafting.with_blanks(query, [thread], allowed)
        canvas.take_back(end)
        (row,), checked = drafting.read([thread], reply)
        if checked:
            yield checked
        for token, score in zip(row.token_ids, row.confidences, strict=True):
            reason = yield from write_token(canvas, request, token, score)
            if reason is not None:
                break
    yield canvas.prose.ended(reason)


SPECULATIVE = Decoder(
    run=speculative,
    summary="left to right, several tokens per forward: guessed by blanks behind the text, checked by the next forward",
    source="equals autoregressive; drafts as in 2511.08923 and 2507.11851",
    reads=DRAFT_FIELDS,
    left_to_right=True,
)
