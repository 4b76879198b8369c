"""Planned diffusion: plan left to right, then denoise all parts at once (arXiv 2510.18087).

Read this first. One request is answered in rounds; each round is the four steps of `in_rounds`:

    1. draft    promises, one token per forward: <promise>-<topic> capital 2 </topic> ... and EOS or <sync/> behind them
                (the first promise that the room cannot hold is taken back, and ends the plan)
    2. lay out  <async> [MASK] [MASK] ... </async> <async> [MASK] [MASK] ... </async>
    3. denoise  one forward per step over the spans still open; each step writes some blanks of every span
    4. commit   the finished spans run once more, with their final tokens, in the forward that plans the next round

and, after the last round and only if `refine_share` says so, 5. refine: see refine.py.

Steps 3 and 4 need no code of their own for the attention: the labels of the tokens decide what they see
(visibility.py). The generator yields queries and events; it never touches the model (query.py).
"""

from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any

from ..events import Decoding, Event, PlacedSpan, PlanDone, PlanShortened, PlanToken, RoundClosed, SpanClosed
from ..grammar import RoundGrammar
from ..plan import Round
from ..query import Query, Reply, Request
from .autoregressive import write_on
from .canvas import Canvas, open_blanks
from .decoder import Decoder, all_but_pad
from .denoising import reveal_shares, step
from .given_spans import close_given
from .lookahead import PlanAhead
from .refine import refine
from .ruled_values import fill_values
from .unmasking import UNMASKING_FIELDS

# Fields that every decoder with a plan reads.
PLANNING_FIELDS = (
    "plan_lookahead", "length_scale", "distinct_topics", "max_spans", "max_rounds", "suppress_in_spans", "keep_plan",
)  # fmt: skip
PLAN_DRAFT_FIELDS = ("plan_drafts", "draft_rows", "draft_acceptance")  # and those that draft nothing else


def planned(request: Request) -> Decoding:
    """Answer one request."""
    yield from in_rounds(request, fill=denoise, is_dense=request.settings.is_dense)


def in_rounds(
    request: Request,
    fill: Callable[[Canvas, tuple[PlacedSpan, ...], Request], Decoding],
    is_dense: bool,
    write: Callable[[Canvas, Request, int | None], Decoding] = write_on,
    drafts: int | None = None,
) -> Decoding:
    """Plan and fill round after round.

    Args:
        fill: writes the spans of a round.
        write: writes the text of an answer without a plan, whose first token may be drawn already.
        drafts: tokens of the plan that blanks guess, at most (drafting.py); None: as `plan_drafts` says.
    """
    canvas = Canvas(request, hold=request.settings.refine_share > 0)
    ahead = PlanAhead(canvas, request, request.settings.plan_drafts if drafts is None else drafts)
    given = list(request.plan.rounds) if request.plan else []
    while True:
        # 1. Draft the promises, unless the caller gave them.
        if given:
            promises = given.pop(0)
            canvas.append(promises.plan_ids)
        else:
            promises = yield from draft(canvas, request, ahead)
            if isinstance(promises, PlainText):
                yield from write(canvas, request, promises.first)
                return
        if canvas.prose.stopped or not promises.spans:
            break
        # 2. Lay out the canvas.
        spans = canvas.lay_out(promises, is_dense)
        yield PlanDone(canvas.round, promises, spans)
        # 3. Denoise.
        yield from fill(canvas, spans, request)
        if canvas.prose.stopped:
            break
        yield RoundClosed(canvas.round)
        # 4. Commit: the spans are stale, so they run again with the first query of the next round.
        if promises.terminator != request.control.sync:
            break
        canvas.next_round([request.control.sync])
    # 5. Refine, where that is wanted.
    yield from refine(canvas, request)
    if canvas.prose.stopped:
        yield canvas.prose.ended("stop")
    elif promises.terminator is None:
        yield canvas.prose.ended("length")
    else:
        canvas.append([promises.terminator], is_text=True)
        yield canvas.prose.ended("eos")


@dataclass(frozen=True)
class PlainText:
    """An answer without a plan; `first` is its first token if the model declined to plan, None if no plan fits."""

    first: int | None = None


def draft(canvas: Canvas, request: Request, ahead: PlanAhead) -> Generator[Query | Event, Reply, Round | PlainText]:
    """Plan one round under the grammar, as far as the room goes; plain text where that is not even one promise.

    A stopping criterion ends it in the middle of a plan (`canvas.prose.stopped`).
    """
    start = len(canvas.ids)
    grammar = RoundGrammar(
        request.control,
        request.unit,
        room=request.settings.max_new_tokens - canvas.room_used,
        max_spans=request.settings.max_spans,
        may_sync=canvas.round + 1 < request.settings.max_rounds,
    )
    grammar.distinct_topics = request.settings.distinct_topics
    may_decline = canvas.round == 0
    while not (grammar.ended or canvas.prose.stopped):
        drawn = yield from ahead.next_tokens(grammar, may_decline)
        if may_decline and drawn[0] not in grammar.allowed():
            return PlainText(drawn[0])
        may_decline = False
        for token in drawn:
            if canvas.prose.stopped or not grammar.push(token):
                break
            yield PlanToken(canvas.round, canvas.append_again(token), token)
            canvas.prose.read_on()  # nothing to read, but time may be up
    return (yield from shorten(canvas, grammar, start))


def shorten(canvas: Canvas, grammar: RoundGrammar, start: int) -> Generator[Event, Any, Round | PlainText]:
    """Take back what the grammar dropped of a round's plan, which begins at `start`; return what is left of it."""
    if canvas.prose.stopped or grammar.terminator is not None:
        return grammar.round()
    end = start + len(grammar.ids)
    dropped = tuple(canvas.ids[end:])
    if dropped:
        canvas.take_back(end)
        yield PlanShortened(canvas.round, tuple(range(end, end + len(dropped))), dropped)
    if canvas.round > 0 or grammar.spans:
        return grammar.round()
    canvas.stale.add(end - 1)  # the prompt's last token runs again, for the first token of the text
    return PlainText()


def denoise(canvas: Canvas, spans: tuple[PlacedSpan, ...], request: Request) -> Decoding:
    """Fill the blanks of a round, step by step, until none is left or a stopping criterion ends the answer."""
    is_dense = request.settings.is_dense
    yield from fill_values(canvas, spans, is_dense)
    if canvas.prose.stopped:
        return
    open_spans, resting = (yield from close_given(canvas, spans)), set()
    if not open_spans:
        return
    if not is_dense:
        resting.update(place for span in spans if span not in open_spans for place in span.extent)
    for share in reveal_shares(canvas, spans, request):
        yield from step(canvas, open_spans, request, share, run=canvas.stale - resting)
        # A token was written in every open span: all that see it are stale, in dense attention the whole round.
        for span in spans if is_dense else open_spans:
            canvas.stale.update(span.extent)
        for span in [span for span in open_spans if not open_blanks(canvas, span)]:
            open_spans.remove(span)
            yield SpanClosed(canvas.round, span, tuple(canvas.ids[span.start : span.stop]))
            if not is_dense:  # no token sees it before the next round: its rows can wait for the commit
                resting.update(span.extent)
        yield from canvas.prose.new_text()
        if canvas.prose.stopped or not open_spans:
            return


PLANNED = Decoder(
    run=planned,
    summary="a plan, then all its parts at once by masked diffusion",
    source="Planned Diffusion, 2510.18087",
    reads=(*PLANNING_FIELDS, *PLAN_DRAFT_FIELDS, *UNMASKING_FIELDS, "span_attention", "refine_share"),
    plans=True,
    fills_canvas=True,
    suppressed=all_but_pad,
)
