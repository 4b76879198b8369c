"""Attention in segments: the same numbers as over the dense mask, chosen where pairs are saved."""

import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention

from planned_diffusion.generation.decoders.autoregressive import autoregressive
from planned_diffusion.generation.decoders.planned import planned
from planned_diffusion.generation.engine import attention_cpu as attention
from planned_diffusion.generation.engine import runner
from planned_diffusion.generation.engine.attention_cpu import (
    SegmentedMask,
    by_span,
    in_batches,
    mask_of,
    pays,
)
from planned_diffusion.generation.engine.engine import Engine
from planned_diffusion.generation.engine.packing import Layout, Segment
from planned_diffusion.generation.events import Ended, Forward
from planned_diffusion.generation.fields import Settings
from planned_diffusion.generation.plan import Plan, Unit, write_round
from planned_diffusion.generation.query import Request
from planned_diffusion.generation.visibility import CAUSAL, CLEAN, NO_DOCUMENT, NO_SPAN, Labels, dense_mask

ROWS_OF_REQUESTS = (4, 1, 3)
SLOTS = 24


@pytest.fixture
def packed():
    """Labels of 8 rows [1, 8] and 24 slots [1, 24] of three requests, some slots empty, and where they lie."""
    noise = torch.Generator().manual_seed(0)
    owners = torch.randint(NO_DOCUMENT, 3, (SLOTS,), generator=noise)
    held = [(owners == document).nonzero()[:, 0].tolist() for document in range(3)]
    span, round_ = torch.randint(NO_SPAN, 2, (SLOTS,), generator=noise), torch.zeros(SLOTS, dtype=torch.long)
    key = Labels(owners, span, round_, round_, torch.arange(SLOTS))
    chosen = [slot for slots, count in zip(held, ROWS_OF_REQUESTS, strict=True) for slot in slots[-count:]]
    starts = (0, 4, 5)
    segments = [
        Segment(range(start, start + count), slots)
        for start, count, slots in zip(starts, ROWS_OF_REQUESTS, held, strict=True)
    ]
    return key.each(lambda label: label[None, chosen]), key.each(lambda label: label[None]), segments


@pytest.mark.parametrize("form", ["tight", "slice of a larger buffer", "heads last", "size in between"])
def test_a_mask_of_attends_like_the_dense_one(packed, form):
    query, key, segments = packed
    mask = mask_of(query, key, segments)
    noise = torch.Generator().manual_seed(1)
    queries = torch.randn(1, 2, 8, 16, generator=noise)
    keys, values = torch.randn(2, 1, 2, SLOTS, 16, generator=noise)
    expected = scaled_dot_product_attention(queries, keys, values, attn_mask=dense_mask(query, key)[:, None], scale=0.3)
    if form == "slice of a larger buffer":
        keys, values = (torch.cat([states, states], 2)[:, :, :SLOTS] for states in (keys, values))
    elif form == "heads last":
        keys, values = (states.transpose(1, 2).contiguous().transpose(1, 2) for states in (keys, values))
    elif form == "size in between":
        keys, values = (states.transpose(2, 3).contiguous().transpose(2, 3) for states in (keys, values))
    attended = scaled_dot_product_attention(queries, keys, values, attn_mask=mask, scale=0.3)
    assert type(attended) is torch.Tensor
    torch.testing.assert_close(attended, expected)


@pytest.mark.parametrize("heads", [2, 6])
@pytest.mark.parametrize("form", ["repeated", "shared"])
def test_heads_that_share_keys_attend_like_the_dense_mask_over_repeated_ones(packed, form, heads):
    """The model repeats keys, or hands them over as they are (TRANSFORMERS_SDPA_FORCE_GQA)."""
    query, key, segments = packed
    noise = torch.Generator().manual_seed(1)
    queries = torch.randn(1, heads, 8, 16, generator=noise)
    keys, values = torch.randn(2, 1, 2, SLOTS, 16, generator=noise)
    repeated = [states.repeat_interleave(heads // 2, dim=1) for states in (keys, values)]
    expected = scaled_dot_product_attention(queries, *repeated, attn_mask=dense_mask(query, key)[:, None])
    mask = mask_of(query, key, segments, sharing=heads // 2)
    if form == "repeated":
        attended = scaled_dot_product_attention(queries, *repeated, attn_mask=mask)
    else:
        attended = scaled_dot_product_attention(queries, keys, values, attn_mask=mask, enable_gqa=True)
    torch.testing.assert_close(attended, expected)


def test_a_mask_of_is_the_dense_one_to_everything_else(packed):
    query, key, segments = packed
    mask, dense = mask_of(query, key, segments), dense_mask(query, key)[:, None]
    assert isinstance(mask, SegmentedMask)
    assert (mask.shape, mask.dtype, mask.device, mask.ndim, mask.dim(), mask.size(-1)) == (
        dense.shape, torch.bool, dense.device, 4, 4, SLOTS,
    )  # fmt: skip
    for change in (
        lambda m: m[..., :5],
        lambda m: ~m,
        lambda m: m.float(),
        lambda m: m.mT,
        lambda m: torch.cat([m, m]),
    ):
        assert change(mask).equal(change(dense))
        assert type(change(mask)) is torch.Tensor


# Which segments

SIX_SPANS = [span for span in range(6) for _ in range(42)]


def alike(count: int, rows: int, slots: int) -> list[Segment]:
    return [Segment(range(n * rows, (n + 1) * rows), range(n * slots, (n + 1) * slots)) for n in range(count)]


def filling(spans: list[int], context: int = 70, rounds: list[int] | None = None, stream: int = CLEAN) -> list[Segment]:
    """The segments of a request whose rows have these spans, behind a context."""
    count = len(spans)
    request = Segment(range(count), range(context + count))
    return by_span(request, layout_of([*range(context, context + count)], spans, rounds or [0] * count, stream))


def layout_of(slots: list[int], spans: list[int], rounds: list[int], stream: int = CLEAN) -> Layout:
    """The columns of a forward of one request, as far as they matter for its segments."""
    count = len(slots)
    return Layout(slots, [0] * count, spans, rounds, [stream] * count, list(range(count)))


def test_spans_of_a_round_attend_one_by_one_where_that_costs_less():
    assert [(len(segment.rows), len(segment.slots)) for segment in filling(SIX_SPANS)] == [(42, 112)] * 6
    assert len(filling([0] * 252)) == 1  # dense attention: one label for all
    assert len(filling([span for span in range(6) for _ in range(3)])) == 1  # too small
    assert len(filling(SIX_SPANS, context=8000)) == 1  # all of them ask for the context
    assert len(filling(SIX_SPANS, stream=CAUSAL)) == 1


def test_what_follows_a_round_attends_to_all_of_it():
    segments = filling([*SIX_SPANS, NO_SPAN, NO_SPAN], rounds=[0] * 252 + [1, 1])
    assert [(len(segment.rows), len(segment.slots)) for segment in segments] == [(42, 114)] * 6 + [(2, 324)]


def test_a_segment_holds_all_that_its_rows_see(monkeypatch):
    """Brute force: whatever labels run, and even where splitting costs more than it saves."""
    for name in ("PAIRS_PER_FORWARD", "PAIRS_PER_SEGMENT", "PAIRS_PER_SLOT"):
        monkeypatch.setattr(attention, name, 0)
    noise = torch.Generator().manual_seed(0)
    split = 0
    for _ in range(200):
        spans = torch.randint(NO_SPAN, 3, (10,), generator=noise)
        rounds = torch.randint(0, 2, (4,), generator=noise)[spans]  # of each span; the last of those outside
        columns = torch.stack([torch.zeros(10).long(), spans, rounds, torch.zeros(10).long(), torch.arange(10)])
        ran = slice(4, 10)
        segments = by_span(
            Segment(range(6), range(10)), layout_of(list(range(4, 10)), spans[ran].tolist(), rounds[ran].tolist())
        )
        split += len(segments) > 1
        assert [row for segment in segments for row in segment.rows] == list(range(6))
        visible = dense_mask(Labels(*columns[:, ran]), Labels(*columns))
        for segment in segments:
            seen = visible[segment.rows.start : segment.rows.stop].any(0).nonzero()[:, 0].tolist()
            assert set(seen) <= set(segment.slots)
    assert split > 50


def test_pays_where_requests_would_see_much_of_each_other_in_vain():
    assert not pays([], used=832)
    assert not pays(alike(1, 500, 1000), used=1000)  # alone
    assert pays(alike(1, 100, 200), used=512)  # alone, among slots that others left
    assert not pays(alike(1, 1, 200), used=10**6)
    assert not pays(alike(8, 1, 100), used=832)  # a token each: gathering costs more
    assert pays(alike(8, 25, 100), used=832)
    assert pays(alike(64, 1, 100), used=6400)
    assert pays(filling(SIX_SPANS), used=384)


def test_segments_of_like_size_attend_together():
    def sizes(segments: list[Segment]) -> list[list[int]]:
        return [[len(segment.rows) for segment in batch] for batch in in_batches(segments)]

    assert sizes(alike(8, 40, 100)) == [[40] * 8]
    mixed = [*alike(1, 50, 110), *alike(5, 4, 80), *alike(1, 48, 120), *alike(1, 1, 90)]
    assert sizes(mixed) == [[1, *[4] * 5], [48, 50]]
    assert sizes([*alike(2, 10, 20), *alike(1, 10, 2000)]) == [[10, 10], [10]]  # padding slots costs as well
    assert sizes([*alike(1, 10, 2000), *alike(1, 10, 20)] * 3) == [[10] * 3, [10] * 3]


# In the engine


@pytest.fixture(scope="module")
def requests(golden_tokens, prompts):
    settings = Settings(max_new_tokens=60, max_spans=3, suppress_in_spans=golden_tokens.all - {golden_tokens.span_pad})
    unit = Unit(2.0)
    three_spans = write_round([((80, 81), 6), ((82,), 4), ((83,), 8)], golden_tokens.eos[0], golden_tokens, unit, list)
    plans = [None, None, None, Plan((three_spans,))]
    decoders = (planned, autoregressive, planned, planned)
    return [
        (decoder, Request(tuple(prompt), golden_tokens, unit, settings, plan=plan))
        for decoder, prompt, plan in zip(decoders, prompts(4, 30, seed=4), plans, strict=True)
    ]


@torch.no_grad()
def endings(model, requests) -> list[Ended]:
    engine = Engine(model)
    for decoder, request in requests:
        engine.add(decoder(request), request.sampling)
    ended = dict((number, event) for number, event in engine.run() if isinstance(event, Ended))
    return [ended[number] for number in range(len(requests))]


def test_requests_answer_alike_in_both_forms(planner, requests, monkeypatch):
    alone = [endings(planner, [request])[0] for request in requests]
    in_segments, split = [], []
    monkeypatch.setattr(attention, "mask_of", lambda *args: in_segments.append(args[2]) or mask_of(*args))
    monkeypatch.setattr(attention, "by_span", lambda *args: split.append(by_span(*args)) or split[-1])
    monkeypatch.setattr(attention, "PAIRS_PER_SEGMENT", 0)
    monkeypatch.setattr(attention, "PAIRS_PER_SLOT", 0)
    for pairs in (10**9, -(10**9)):
        monkeypatch.setattr(attention, "PAIRS_PER_FORWARD", pairs)
        assert endings(planner, requests) == alone
        assert bool(in_segments) == (pairs < 0)
    assert max(map(len, split)) > 2  # span by span, too


@torch.no_grad()
def test_autocast_attends_in_its_own_type(planner, requests, monkeypatch):
    monkeypatch.setattr(attention, "PAIRS_PER_FORWARD", -(10**9))
    in_segments = []
    monkeypatch.setattr(attention, "mask_of", lambda *args: in_segments.append(1) or mask_of(*args))
    with torch.autocast("cpu", torch.bfloat16):
        assert all(ending.answer_ids for ending in endings(planner, requests))
    assert in_segments


def test_a_fill_makes_its_mask_once(planner, requests, monkeypatch):
    """Only when the tokens that run have changed is it worked out anew."""
    engine, made, ran = Engine(planner), [], []
    make = runner.attention_mask
    monkeypatch.setattr(runner, "attention_mask", lambda *args: made.append(1) or make(*args))
    decoder, request = requests[0]
    engine.add(decoder(request), request.sampling)
    with torch.no_grad():
        for _, event in engine.run():
            if isinstance(event, Forward):
                ran.append((event.purpose, len(made)))
    steps = [masks for purpose, masks in ran if purpose == "denoising"]
    assert len(steps) > 3 and steps[1] == steps[2]
    assert len(made) < len(ran)
