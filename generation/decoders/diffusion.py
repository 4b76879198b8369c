"""Plain masked diffusion: the whole answer starts blank and is written in any order (Dream, arXiv 2508.15487).

    prompt  [MASK] [MASK] [MASK] [MASK] [MASK] [MASK] [MASK]     `max_new_tokens` blanks, as in Dream
    prompt  The    [MASK] [MASK] Kenya  [MASK] [MASK] [MASK]     a step writes the surest of them
    prompt  The    city   of     Kenya  .      EOS    [PAD]      EOS ends the answer

Labels: the answer is one span, so its tokens see each other in both directions; there is no plan and there are no tags.
Cache: exact. The answer is run whole at every step, and the prompt never changes.

Beside Dream: our prompts are causal, as our checkpoints are trained, so the answer's first token is predicted from the
prompt alone; a step writes at least one token, where Dream's first may write none and its last several; and behind an
EOS the rest is closed at once (`close_padding`), so that no steps are spent on it.
"""

from collections.abc import Iterable

from ..events import BlanksPlaced, PlacedSpan, SpanClosed, Text
from ..query import Request
from ..tokens import Allowed
from .canvas import Canvas
from .schedule import reveal_fractions, step_count
from .unmasking import reveal

READS = (
    "steps_ratio", "confidence_threshold", "unmasking", "unmasking_rule", "confidence_factor", "entropy_bound",
    "window_blanks", "window_tokens", "close_padding", "suppress_in_spans",
)  # fmt: skip


def diffusion(request: Request):
    """Generator of queries and events for one request."""
    canvas = Canvas(request.prompt_ids, request.tokens)
    answer = canvas.lay_out_block(request.settings.max_new_tokens)
    yield BlanksPlaced(canvas.round, (answer,))
    yield from fill(canvas, answer, request, changed=answer.positions)
    yield canvas.ended(canvas.outcome)


def fill(canvas: Canvas, block: PlacedSpan, request: Request, changed: Iterable[int]):
    """Writes the blanks of a block without tags, step by step, until none is left before the answer's end.

    `changed` are the positions whose state a step makes stale, so that the next one runs them: those that see the
    block, or fewer for an approximate cache.
    """
    settings = request.settings
    allowed = Allowed(only=False, ids=settings.suppress_in_spans)
    for fraction in reveal_fractions(step_count(len(canvas.open_blanks(block)), settings.steps_ratio)):
        blanks = canvas.open_blanks(block)
        left_neighbours = {position - 1 for position in blanks}  # their rows predict the blanks
        reply = yield canvas.query(canvas.stale | left_neighbours, blanks, allowed, "denoising")
        written = reveal(block, blanks, reply, fraction, request, closers=request.tokens.eos)
        yield canvas.write_all(written)
        canvas.stale.update(changed)
        text = canvas.read_on(request.should_stop)
        if text:
            yield Text(text)
        if canvas.stopped or canvas.is_complete or canvas.is_filled(block):
            break
    yield SpanClosed(canvas.round, block, tuple(canvas.ids[block.start : block.stop]))
