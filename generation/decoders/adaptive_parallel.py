"""Adaptive parallel decoding: as many tokens at once as a left-to-right model agrees with (arXiv 2506.00413).

Algorithm 1, a round of which is two forwards, for blanks t ... t + M - 1 behind what is accepted:

    1. draft    x_i = argmax(log p_D + g_i)                            diffusion marginals of at most M blanks
    2. score    y_i = argmax(R log p_D + (1 - R) log p_AR + g_i)       p_AR(. | x before i), with the SAME noise g_i
    3. accept   x_t, and the draft behind it as far as x_i = y_i

R (`mixture_weight`) near 1 trusts the diffusion model, lower R writes fewer tokens at a time; M is `max_lookahead`. At
temperature 0 there is no noise. The scorer is an `assistant_model` with the same token ids, small enough not to count,
or the model itself, left to right: its forward then costs as much as the draft's, so that a round pays from two
accepted tokens on.

Labels: the answer is one span, as in `diffusion`; only the M blanks ahead exist. The scorer reads the same positions in
the CAUSAL stream, so its cache is exact and one model can hold both.
Cache of the draft: approximate by design. Accepted tokens run again once they are final, with the W (`kv_window`)
tokens before them; older states stay as they are. With a window over everything it is exact.
"""

from collections.abc import Generator
from dataclasses import replace

from ..events import BlanksPlaced, Decoding, Event, SpanClosed
from ..query import Drawn, Query, Reply, Request
from ..tokens import Allowed
from .canvas import Canvas
from .decoder import Decoder


def adaptive_parallel(request: Request) -> Decoding:
    """Answer one request."""
    settings = request.settings
    canvas = Canvas(request)
    answer = canvas.lay_out_block(settings.max_new_tokens)
    yield BlanksPlaced(canvas.round, (answer,))
    accepted = renewed = answer.start  # everything before `accepted` is final; from `renewed` on it has yet to run so
    scored = 0 if request.has_assistant else answer.start  # the scorer has read everything before it
    ends = {request.control.span_pad, *request.control.eos}
    while not (canvas.prose.stopped or canvas.prose.is_complete):
        blanks = range(accepted, min(accepted + settings.max_lookahead, answer.stop))
        # 1. Draft.
        run = {*range(max(answer.start, renewed - settings.kv_window), blanks.stop), accepted - 1}
        run |= {position for position in canvas.stale if position < answer.start}
        draft = yield canvas.query(run, list(blanks), _allowed(request), "denoising", keep=True)
        drafted = dict(zip(blanks, draft.token_ids, strict=True))
        sure = dict(zip(blanks, draft.confidences, strict=True))
        # 2. Score.
        target = {accepted: drafted[accepted]}  # the first is always accepted
        if len(blanks) > 1:
            target |= yield from score(canvas, scored, drafted, request)
            scored = blanks.stop - 1
        # 3. Accept.
        renewed = accepted
        while accepted < blanks.stop and drafted[accepted] == target[accepted]:
            accepted += 1
            if drafted[accepted - 1] in ends:
                break
        scored = min(scored, accepted)
        yield canvas.write({p: Drawn(drafted[p], sure[p], sure[p]) for p in range(renewed, accepted)})
        yield from canvas.prose.new_text()
    yield SpanClosed(canvas.round, answer, tuple(canvas.ids[answer.start : answer.stop]))
    yield canvas.prose.ended(canvas.prose.outcome)


def score(
    canvas: Canvas, scored: int, drafted: dict[int, int], request: Request
) -> Generator[Query | Event, Reply, dict[int, int]]:
    """Query the scorer over a draft; return position -> target token, for all but the first drafted one."""
    *known, _ = drafted  # nothing is predicted from the last
    start = canvas.prompt_length
    query = canvas.query(
        range(scored, known[-1] + 1),
        [position + 1 for position in known],
        _allowed(request),
        "scoring",
        causal=range(start, len(canvas.ids)),
        runner=int(request.has_assistant),
        mix=request.settings.mixture_weight,
    )
    drafts = list(map(drafted.get, query.positions, query.token_ids))  # the canvas is still blank there
    target = yield replace(query, token_ids=drafts)
    return dict(zip((position + 1 for position in known), target.token_ids, strict=True))


def _allowed(request: Request) -> Allowed:
    return Allowed(only=False, ids=request.settings.suppress_in_spans)


ADAPTIVE_PARALLEL = Decoder(
    run=adaptive_parallel,
    summary="diffusion drafts, a left-to-right scorer accepts; `assistant_model=` or the model itself",
    source="APD, 2506.00413",
    reads=("mixture_weight", "kv_window", "max_lookahead", "suppress_in_spans"),
    takes_assistant=True,
)
