"""Planned diffusion: plan left to right, then denoise all parts at once (arXiv 2510.18087).

Read this first. One request is answered in rounds; each round is the four steps of `planned`:

    1. draft    promises, one token per forward: <promise>-<topic> capital 2 </topic> ... and EOS or <sync/> behind them
                (several per forward where `plan_lookahead` guesses them right: lookahead.py)
    2. lay out  <async> [MASK] [MASK] ... </async> <async> [MASK] [MASK] ... </async>
    3. denoise  one forward per step over the spans still open; each step writes some blanks of every span
    4. commit   the finished spans run once more, with their final tokens, in the forward that plans the next round

and, after the last round and only if `refine_share` says so, 5. refine: see refine.py.

Steps 3 and 4 need no code of their own for the attention: the labels of the tokens decide what they see
(visibility.py). The generator yields queries and events; it never touches the model (query.py).
"""

from ..events import PlacedSpan, PlanDone, PlanToken, RoundClosed, SpanClosed, Text
from ..grammar import RoundGrammar
from ..query import Request
from ..tokens import Allowed
from .autoregressive import write_on
from .canvas import Canvas
from .lookahead import look_ahead
from .refine import refine
from .schedule import reveal_fractions, step_count
from .unmasking import reveal

READS = (
    "span_attention", "steps_ratio", "confidence_threshold", "unmasking", "unmasking_rule", "confidence_factor",
    "entropy_bound", "window_blanks", "window_tokens", "plan_lookahead", "length_scale", "max_spans", "max_rounds",
    "close_padding", "suppress_in_spans", "keep_plan", "refine_share",
)  # fmt: skip


def planned(request: Request):
    """Generator of queries and events for one request."""
    yield from in_rounds(request, fill=denoise, dense=request.settings.dense)


def in_rounds(request: Request, fill, dense: bool):
    """Plans and fills round after round; `fill` writes the spans of one (canvas, spans, request)."""
    canvas = Canvas(request.prompt_ids, request.tokens, request.separator_ids, hold=request.settings.refine_share > 0)
    given = list(request.plan.rounds) if request.plan else []
    while True:
        # 1. Draft the plan, unless the caller gave it.
        if given:
            plan = given.pop(0)
            canvas.append(plan.plan_ids)
        else:
            plan = yield from draft(canvas, request)
            if canvas.stopped:
                break
            if isinstance(plan, int):  # plain text: the model answers without a plan
                yield from write_on(canvas, request, first=plan)
                return
        if not plan.spans:
            break
        # 2. Lay out the canvas.
        spans = canvas.lay_out(plan, dense)
        yield PlanDone(canvas.round, plan, spans)
        # 3. Denoise.
        yield from fill(canvas, spans, request)
        if canvas.stopped:
            break
        yield RoundClosed(canvas.round)
        # 4. Commit: the spans are stale, so they run again with whatever the next round runs first.
        if plan.terminator != request.tokens.sync:
            break
        canvas.next_round()
    # 5. Refine, where that is wanted.
    yield from refine(canvas, request)
    if canvas.stopped:
        yield canvas.ended("stop")
    elif plan.terminator is None:
        yield canvas.ended("length")
    else:
        canvas.append([plan.terminator], text=True)
        yield canvas.ended("eos")


def draft(canvas: Canvas, request: Request):
    """Plans one round under the grammar, a token per forward; returns the `Round`, or the first token of plain text.

    A stopping criterion ends it in the middle of a plan (`canvas.stopped`). With `plan_lookahead` a forward writes
    several tokens where they were guessed right.
    """
    settings, tokens = request.settings, request.tokens
    grammar = RoundGrammar(
        tokens,
        request.unit,
        room=settings.max_new_tokens - canvas.written(),
        max_spans=settings.max_spans,
        may_sync=canvas.round + 1 < settings.max_rounds,
    )
    most_guesses = 0 if request.process else settings.plan_lookahead
    may_decline = canvas.round == 0
    while not grammar.ended:
        guesses, allowed = look_ahead(grammar, canvas.ids, most_guesses)
        if may_decline:
            allowed[0] = Allowed(only=False, ids=tokens.tags - {tokens.promise_start})
        drawn = yield from draw_ahead(canvas, guesses, allowed, request)
        if may_decline and drawn[0] not in grammar.allowed():
            return drawn[0]
        may_decline = False
        for token, guess in zip(drawn, [*guesses, None], strict=True):
            if grammar.push(token):
                position = canvas.restore(token) if token == guess else canvas.append([token]).start
                yield PlanToken(canvas.round, position, token)
                canvas.read_on(request.should_stop)  # nothing to read, but time may be up
                if canvas.stopped:
                    return None
            if grammar.ended or token != guess:
                break
    return grammar.round()


def draw_ahead(canvas: Canvas, guesses: list[int], allowed: list[Allowed], request: Request):
    """One forward over what is stale and the guesses; the tokens drawn in place of each guess and behind the last."""
    end = len(canvas.ids)
    canvas.append(guesses)
    behind = list(range(end, end + len(allowed)))
    reply = yield canvas.query(canvas.stale, behind, allowed if guesses else allowed[0], "planning", request.process)
    canvas.shorten(end)
    return reply.token_ids


def denoise(canvas: Canvas, spans: tuple[PlacedSpan, ...], request: Request):
    """Fills the blanks of a round, step by step, until none is left or a stopping criterion says so."""
    settings = request.settings
    allowed = Allowed(only=False, ids=settings.suppress_in_spans)
    steps = step_count(max(len(canvas.open_blanks(span)) for span in spans), settings.steps_ratio)
    open_spans, asleep = list(spans), set()
    for fraction in reveal_fractions(steps):
        blanks = [canvas.open_blanks(span) for span in open_spans]
        reply = yield canvas.query(
            canvas.stale - asleep, [p for of_span in blanks for p in of_span], allowed, "denoising"
        )
        written = {}
        for span, of_span, drawn in zip(open_spans, blanks, reply.split(map(len, blanks)), strict=True):
            written |= reveal(span, of_span, drawn, fraction, request)
        yield canvas.write_all(written)
        # What a token sees has changed in its own span, and in dense attention in every span of the round.
        for span in spans if settings.dense else open_spans:
            canvas.touch(span)
        for span in [span for span in open_spans if canvas.is_filled(span)]:
            open_spans.remove(span)
            yield SpanClosed(canvas.round, span, tuple(canvas.ids[span.start : span.stop]))
            if not settings.dense:  # nobody sees it before the next round: its rows can wait for the commit
                asleep.update(canvas.extent(span))
        text = canvas.read_on(request.should_stop)
        if text:
            yield Text(text)
        if canvas.stopped or not open_spans:
            return
