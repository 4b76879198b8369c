"""The table of objectives by hand, and runs that are kept; the changes of rows against rows written by hand."""

from dataclasses import replace

import numpy as np
import pytest
from objective import VERDICTS, Kept, first_rounds_only, one_stream, published_labels, table_of, weighted_plan

from planned_diffusion.generation.visibility import CLEAN, NO_SPAN, NOISY
from planned_diffusion.training.row import NO_LABEL, PLAN, SPAN, Row

MASK = 99


@pytest.fixture
def row() -> Row:
    """A plan token 1, a clean span 2 3 4 with its label, and a noisy copy of it with 3 masked at t = 1/2."""
    return Row(
        ids=np.array([1, 2, 3, 4, 2, MASK, 4]),
        span=np.array([NO_SPAN, 0, 0, 0, 1, 1, 1]),
        round=np.zeros(7, dtype=int),
        stream=np.array([CLEAN] * 4 + [NOISY] * 3),
        position=np.array([0, 1, 2, 3, 1, 2, 3]),
        labels=np.array([7, NO_LABEL, NO_LABEL, NO_LABEL, 3, NO_LABEL, NO_LABEL]),
        weights=np.array([1, 0, 0, 0, 2, 0, 0], dtype=np.float32),
        loss_part=np.array([PLAN] * 4 + [SPAN] * 3),
        targets=np.zeros(4, dtype=int),
    )


def test_published_labels_stand_where_the_token_itself_is_masked(row):
    changed = published_labels(row, MASK, np.random.default_rng(0))
    assert changed.labels.tolist() == [7, NO_LABEL, NO_LABEL, NO_LABEL, NO_LABEL, 4, NO_LABEL]
    assert changed.weights.tolist() == [1, 0, 0, 0, 0, 2, 0]


def test_one_stream_has_the_noisy_spans_alone(row):
    changed = one_stream(row, MASK, np.random.default_rng(0))
    assert changed.ids.tolist() == [1, 2, MASK, 4] and set(changed.stream) == {CLEAN}
    assert changed.labels.tolist() == [7, 3, NO_LABEL, NO_LABEL]


def test_spans_of_later_rounds_may_teach_nothing(row):
    assert first_rounds_only(row, MASK, np.random.default_rng(0)).labels.tolist() == row.labels.tolist()
    later = replace(row, round=np.ones(7, dtype=int))
    changed = first_rounds_only(later, MASK, np.random.default_rng(0))
    assert changed.labels.tolist() == [7] + [NO_LABEL] * 6 and changed.weights.tolist() == [1] + [0] * 6


def test_one_weight_of_the_plan_and_none_of_the_spans_changes(row):
    changed = weighted_plan(row, MASK, np.random.default_rng(0))
    assert 1 < changed.weights[0] <= 20 and changed.weights[1:].tolist() == row.weights[1:].tolist()


def test_what_has_run_is_kept(tmp_path):
    run, right = {"objective": "ours", "seed": 1}, {"ratio 1": 0.5, VERDICTS: None}
    kept = Kept(tmp_path / "runs.jsonl")
    assert kept.get(run) is None
    kept.add(run, right)
    again = Kept(tmp_path / "runs.jsonl")
    assert again.get({"seed": 1, "objective": "ours"}) == right and again.get({**run, "seed": 2}) is None


def test_means_and_deviations_by_hand():
    of_ways = {"ratio 0.5": 0.0, "threshold 0.9": 0.0, "autoregressive": 1.0}
    found = {"ours": [{"ratio 1": 0.2, **of_ways, VERDICTS: None}, {"ratio 1": 0.4, **of_ways}], "other": []}
    assert table_of(found, {"ours": 24, "other": 17}, {"ours": 109.9, "other": 154.0}) == [
        {"objective": "ours", "seeds": 2, "examples per step": 24, "tokens per example": 110, "ratio 1": "30.0 ± 14.1",
         "ratio 0.5": "0.0 ± 0.0", "threshold 0.9": "0.0 ± 0.0", "autoregressive": "100.0 ± 0.0"}
    ]  # fmt: skip
