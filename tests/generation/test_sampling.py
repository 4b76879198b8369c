"""From logits to tokens: filters as in transformers, forbidden tokens, noise that follows softmax, rows kept apart."""

import math

import pytest
import torch
from transformers import TopKLogitsWarper, TopPLogitsWarper

from planned_diffusion.generation.engine import filters
from planned_diffusion.generation.engine import sampling as sampling_module
from planned_diffusion.generation.engine.filters import filter_logits
from planned_diffusion.generation.engine.sampling import (
    AllowedTable,
    RowGroup,
    argmax,
    draw,
    rows_per_group,
)
from planned_diffusion.generation.engine.scores import SCORES
from planned_diffusion.generation.query import Sampling
from planned_diffusion.generation.tokens import EVERYTHING, Allowed

VOCABULARY = 12
LOWEST = torch.finfo(torch.float32).min


def random_logits(rows: int, seed: int = 0, scale: float = 2.0) -> torch.Tensor:
    return scale * torch.randn(rows, VOCABULARY, generator=torch.Generator().manual_seed(seed))


GREEDY = Sampling()


def group_of(rows: range, sampling=GREEDY, allowed=EVERYTHING, seed=None, process=None) -> RowGroup:
    noise = None if seed is None else torch.Generator().manual_seed(seed)
    return RowGroup(rows, sampling, allowed, SCORES[sampling.score], noise=noise, process=process)


def drawn(logits: torch.Tensor, *settings, **more_settings) -> torch.Tensor:
    """[3, W]: tokens, scores, confidences of one request's rows; settings as for `group_of`."""
    group = group_of(range(len(logits)), *settings, **more_settings)
    return draw(logits.clone(), [group], AllowedTable(logits.device))


def kept_by_transformers(row: torch.Tensor, top_k: int | None, top_p: float | None) -> set[int]:
    scores = row[None]
    if top_k is not None:
        scores = TopKLogitsWarper(top_k)(None, scores)
    if top_p is not None:
        scores = TopPLogitsWarper(top_p)(None, scores)
    return set(torch.nonzero(scores[0].isfinite()).flatten().tolist())


@pytest.mark.parametrize("top_k", [None, 1, 3, 12, 50])
@pytest.mark.parametrize("top_p", [None, 0.05, 0.5, 0.9, 1.0])
@pytest.mark.parametrize("likeliest", [(256, 4096), (1, 3)])
def test_filters(top_k, top_p, likeliest, monkeypatch):
    monkeypatch.setattr(filters, "LIKELIEST", likeliest)
    logits = random_logits(50, scale=1.0)
    filtered = filter_logits(logits, top_k, top_p)
    for row, kept in zip(logits, (filtered > LOWEST).tolist(), strict=True):
        expected = kept_by_transformers(row, top_k, top_p)
        assert {token for token, keep in enumerate(kept) if keep} == expected
    assert filtered[filtered > LOWEST].equal(logits[filtered > LOWEST])
    assert filtered.isfinite().all()


def test_greedy_takes_the_most_likely_allowed_token():
    logits = torch.tensor([[0.0, 5.0, 3.0, 1.0]])
    assert drawn(logits)[0].tolist() == [1]
    assert drawn(logits, allowed=Allowed(only=False, ids=frozenset({1})))[0].tolist() == [2]
    assert drawn(logits, allowed=Allowed(only=True, ids=frozenset({0, 3})))[0].tolist() == [3]


def test_scores_are_those_of_the_filtered_distribution():
    logits = torch.tensor([[0.6, 0.3, 0.1]]).log()
    entropy, confidence = drawn(logits, Sampling(top_k=2))[1:, 0].tolist()
    assert confidence == pytest.approx(2 / 3, abs=1e-6)
    assert entropy == pytest.approx(2 / 3 * math.log(2 / 3) + 1 / 3 * math.log(1 / 3), abs=1e-6)
    assert drawn(logits, Sampling(top_k=2, score="margin"))[1].tolist() == pytest.approx([1 / 3], abs=1e-6)
    allowed = Allowed(only=False, ids=frozenset({0}))
    assert drawn(logits, Sampling(score="confidence"), allowed)[1].tolist() == pytest.approx([0.75], abs=1e-6)


@pytest.mark.parametrize("score", ["entropy", "confidence", "margin"])
@pytest.mark.parametrize("temperature", [0.05, 0.2, 0.7, 1.0, 3.0])
@pytest.mark.parametrize("filters", [{}, {"top_k": 4}, {"top_p": 0.9}])
def test_scores_stay_numbers_when_sampling_with_forbidden_tokens(score, temperature, filters):
    """A cold temperature must not turn the lowest finite logit into -inf, and 0 x -inf into a NaN score."""
    logits = random_logits(20)
    forbidden = frozenset({0, 5})
    sampling = Sampling(temperature=temperature, score=score, **filters)
    tokens, scores, confidences = drawn(logits, sampling, Allowed(only=False, ids=forbidden), seed=0)
    assert scores.isfinite().all() and confidences.isfinite().all()
    assert not set(tokens.int().tolist()) & forbidden
    kept = torch.tensor([token for token in range(VOCABULARY) if token not in forbidden])
    alone = drawn(logits[:, kept], sampling, seed=0)
    torch.testing.assert_close(torch.stack([scores, confidences]), alone[1:], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_noise_follows_the_softmax(temperature):
    count = 20_000
    logits = torch.tensor([[2.0, 1.0, 0.0, -1.0, 0.5]])
    tokens = drawn(logits.expand(count, -1), Sampling(temperature=temperature), seed=1)[0].long()
    observed = tokens.bincount(minlength=5).double()
    expected = (logits[0].double() / temperature).softmax(-1) * count
    assert ((observed - expected) ** 2 / expected).sum() < 18.5  # chi-square with 4 degrees of freedom, p = 0.001


def test_noise_stays_within_the_filters():
    logits = random_logits(1).expand(2000, -1)
    tokens = drawn(logits, Sampling(temperature=5.0, top_k=3), seed=2)[0].int().tolist()
    assert set(tokens) == set(logits[0].topk(3).indices.tolist())


def test_the_seed_decides():
    logits = random_logits(200)
    sampling = Sampling(temperature=1.0)
    assert drawn(logits, sampling, seed=1).equal(drawn(logits, sampling, seed=1))
    assert not drawn(logits, sampling, seed=1).equal(drawn(logits, sampling, seed=2))


def test_groups_are_drawn_as_if_alone():
    """Requests that share a forward keep their own settings, allowed tokens and noise."""
    logits = random_logits(12)
    some, others = Allowed(only=True, ids=frozenset({1, 2, 3})), Allowed(only=False, ids=frozenset({4}))
    settings = [
        (range(0, 2), Sampling(), EVERYTHING, None),
        (range(2, 4), Sampling(), EVERYTHING, None),
        (range(4, 5), Sampling(), some, None),
        (range(5, 8), Sampling(temperature=0.8, top_k=5), others, 7),
        (range(8, 10), Sampling(temperature=0.8, top_k=5), others, 8),
        (range(10, 11), Sampling(score="margin", top_p=0.7), others, None),
        (range(11, 12), Sampling(score="entropy", top_p=0.7), others, None),
    ]
    groups = [group_of(*group) for group in settings]
    together = draw(logits.clone(), groups, AllowedTable(logits.device))
    for rows, sampling, allowed, seed in settings:
        alone = drawn(logits[rows.start : rows.stop], sampling, allowed, seed)
        torch.testing.assert_close(together[:, rows.start : rows.stop], alone)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
def test_any_dtype_of_the_head(dtype):
    logits = random_logits(4).to(dtype)
    assert drawn(logits)[0].tolist() == logits.float().argmax(-1).tolist()


def test_a_large_vocabulary_keeps_its_ids():
    logits = torch.zeros(3, 152_064)
    places = torch.tensor([151_671, 0, 99_999])
    logits[torch.arange(3), places] = 9.0
    assert drawn(logits)[0].int().tolist() == places.tolist()


def test_many_rows_are_drawn_as_few(monkeypatch):
    """The group size is a matter of speed alone."""
    logits = random_logits(40)
    whole = drawn(logits, Sampling(top_p=0.8))
    monkeypatch.setattr(sampling_module, "rows_per_group", lambda device, vocabulary: 3)
    assert drawn(logits, Sampling(top_p=0.8)).equal(whole)


def test_rows_per_group_fit_the_device():
    assert [rows_per_group("cpu", vocabulary) for vocabulary in (2048, 32_000, 152_064, 2**21)] == [64, 32, 6, 1]
    assert rows_per_group("cuda", 152_064) > 400 and rows_per_group("cuda", 2**27) == 1


def test_a_processor_changes_the_scores_of_its_row_but_not_what_is_allowed():
    logits = torch.tensor([[0.0, 5.0, 3.0, 1.0]])

    def only_the_forbidden(scores):
        return torch.full_like(scores, -torch.inf).index_fill(1, torch.tensor([1]), 0.0)

    def add_to_the_last(scores):
        return scores + torch.tensor([[0.0, 0.0, 0.0, 9.0]])

    assert drawn(logits, process=add_to_the_last)[0].tolist() == [3]
    for forbidden in (frozenset({1}), frozenset({0, 1})):
        tokens, scores, confidences = drawn(logits, allowed=Allowed(False, forbidden), process=only_the_forbidden)
        assert int(tokens) not in forbidden
        assert scores.isfinite().all() and confidences.isfinite().all()


@pytest.mark.parametrize("allowed", [EVERYTHING, Allowed(False, frozenset({1}))])
def test_what_a_processor_returns_stays_its_own(allowed):
    """A processor may return the same table of scores every time."""
    table = torch.tensor([[0.0, 5.0, 3.0, 1.0]])
    before = table.clone()
    drawn(torch.zeros(1, 4), Sampling(temperature=1.0), allowed, seed=0, process=lambda scores: table)
    drawn(torch.zeros(1, 4), Sampling(), allowed, process=lambda scores: table)
    assert table.equal(before)


def test_nan_logits_show_as_nan_confidence():
    logits = random_logits(2)
    logits[1, 3] = torch.nan
    assert drawn(logits)[2].isnan().tolist() == [False, True]


@pytest.mark.parametrize("allowed", [EVERYTHING, Allowed(True, frozenset({1, 5})), Allowed(False, frozenset({0, 11}))])
def test_what_is_not_allowed_is_lowest_and_the_rest_untouched(allowed):
    logits = random_logits(3)
    table = AllowedTable(logits.device)
    for _ in range(2):  # the second time from memory
        applied = logits.clone()
        table.apply(applied, allowed)
        for token in range(VOCABULARY):
            expected = logits[:, token] if token in allowed else torch.full((3,), LOWEST)
            assert applied[:, token].equal(expected)


@pytest.mark.parametrize("size", [5, 128, 255, 256, 300, 1000])
def test_argmax_takes_the_first_largest(size):
    noise = torch.Generator().manual_seed(0)
    logits = torch.randn(50, size, generator=noise)
    ties = torch.randint(0, 4, (50, size), generator=noise).float()
    for rows in (logits, ties, torch.zeros(2, size)):
        first = [row.index(max(row)) for row in rows.tolist()]
        assert argmax(rows).tolist() == first


def test_a_temperature_that_float32_cannot_tell_from_nothing_takes_the_likeliest():
    logits = random_logits(VOCABULARY, scale=1.0)
    tokens, _, confidences = drawn(logits, Sampling(temperature=1e-320), seed=1)
    assert tokens.tolist() == logits.argmax(-1).tolist() and confidences.isfinite().all()
