"""Attention document by document: the same numbers as over the dense mask, chosen where pairs are saved."""

import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention

from planned_diffusion.generation import attention, runner
from planned_diffusion.generation.attention import Document, DocumentMask, mask_by_document, pays
from planned_diffusion.generation.decoders.autoregressive import autoregressive
from planned_diffusion.generation.decoders.planned import planned
from planned_diffusion.generation.engine import Engine
from planned_diffusion.generation.plan import Unit
from planned_diffusion.generation.query import Request, Settings
from planned_diffusion.generation.trace import Ended, Forward
from planned_diffusion.generation.visibility import NO_DOCUMENT, NO_SPAN, Labels, dense_mask

ROWS_OF_DOCUMENTS = (4, 1, 3)
SLOTS = 24


@pytest.fixture
def packed():
    """Labels of 8 rows [1, 8] and 24 slots [1, 24] of three documents, some slots empty, and where they lie."""
    noise = torch.Generator().manual_seed(0)
    owners = torch.randint(NO_DOCUMENT, 3, (SLOTS,), generator=noise)
    held = [(owners == document).nonzero()[:, 0].tolist() for document in range(3)]
    span, round_ = torch.randint(NO_SPAN, 2, (SLOTS,), generator=noise), torch.zeros(SLOTS, dtype=torch.long)
    key = Labels(owners, span, round_, round_, torch.arange(SLOTS))
    chosen = [slot for slots, count in zip(held, ROWS_OF_DOCUMENTS, strict=True) for slot in slots[-count:]]
    starts = (0, 4, 5)
    documents = [
        Document(range(start, start + count), slots)
        for start, count, slots in zip(starts, ROWS_OF_DOCUMENTS, held, strict=True)
    ]
    return key.each(lambda label: label[None, chosen]), key.each(lambda label: label[None]), documents


def test_a_mask_by_document_attends_like_the_dense_one(packed):
    query, key, documents = packed
    mask = mask_by_document(query, key, documents)
    noise = torch.Generator().manual_seed(1)
    queries = torch.randn(1, 2, 8, 16, generator=noise)
    keys, values = torch.randn(2, 1, 2, SLOTS, 16, generator=noise)
    expected = scaled_dot_product_attention(queries, keys, values, attn_mask=dense_mask(query, key)[:, None], scale=0.3)
    attended = scaled_dot_product_attention(queries, keys, values, attn_mask=mask, scale=0.3)
    assert type(attended) is torch.Tensor
    torch.testing.assert_close(attended, expected)


def test_a_mask_by_document_is_the_dense_one_to_everything_else(packed):
    query, key, documents = packed
    mask, dense = mask_by_document(query, key, documents), dense_mask(query, key)[:, None]
    assert isinstance(mask, DocumentMask)
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


def test_pays_where_documents_would_see_much_of_each_other_in_vain():
    def documents(count: int, rows: int, slots: int) -> list[Document]:
        return [Document(range(n * rows, (n + 1) * rows), range(n * slots, (n + 1) * slots)) for n in range(count)]

    assert not pays(documents(1, 500, 1000), used=4096)  # alone
    assert not pays(documents(8, 1, 100), used=832)  # a token each: one call is cheaper than eight
    assert pays(documents(8, 25, 100), used=832)
    assert pays(documents(64, 1, 100), used=6400)


@pytest.fixture(scope="module")
def requests(golden_tokens, prompts):
    settings = Settings(max_new_tokens=60, max_spans=3, suppress_in_spans=golden_tokens.all - {golden_tokens.span_pad})
    return [
        (decoder, Request(tuple(prompt), golden_tokens, Unit(2.0), settings))
        for decoder, prompt in zip((planned, autoregressive, planned, planned), prompts(4, 30, seed=4), strict=True)
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
    by_document = []
    monkeypatch.setattr(runner, "mask_by_document", lambda *args: by_document.append(1) or mask_by_document(*args))
    for pairs in (10**9, -(10**9)):
        monkeypatch.setattr(attention, "PAIRS_PER_DOCUMENT", pairs)
        assert endings(planner, requests) == alone
        assert bool(by_document) == (pairs < 0)


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
