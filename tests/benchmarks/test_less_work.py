"""What the savings are measured against: the same answers at more work."""

import less_work
import pytest
import torch
from transformers import AutoTokenizer

from planned_diffusion import PlannedDiffusionForCausalLM
from planned_diffusion.facts.generator import held_out_questions
from planned_diffusion.loading.embedded import EMBEDDED


@pytest.fixture(scope="module")
def embedded():
    model = PlannedDiffusionForCausalLM.from_pretrained(EMBEDDED, dtype=torch.float32).eval()
    return model, AutoTokenizer.from_pretrained(EMBEDDED)


def costs(row: dict) -> list[tuple[float, float]]:
    """(without, with) of forwards and of tokens run."""
    return [tuple(map(float, row[name].split(" -> "))) for name in ("forwards", "tokens run")]


def test_what_is_counted_costs_more_without(embedded):
    compares = [example for example in held_out_questions(60, 7) if len(example.statements) > 2][:2]
    rows, commit = less_work.counted(*embedded, compares)
    (forwards, same), (tokens, fewer) = costs(rows)
    assert forwards == same and tokens > fewer
    (apart, together), (tokens, same) = costs(commit)
    assert apart >= together and tokens == same
    assert rows["answers equal"] == commit["answers equal"] == "2 of 2"


def test_sharing_a_beginning_saves_its_tokens_seven_times(embedded, monkeypatch):
    monkeypatch.setattr(less_work, "interleaved", lambda runs, repeats: dict.fromkeys(runs, [1.0]))  # not timed here
    args = type("Arguments", (), {"repeats": 1})
    row = less_work.shared_beginnings(*embedded, held_out_questions(8, 7), args)
    (before, after), (tokens, fewer) = costs(row)
    assert before == after and row["answers equal"] == "8 of 8"
    prompt = int(row["what"].rsplit(" ", 2)[1])
    assert tokens - fewer == pytest.approx((prompt - 1) * 7 / 8, abs=1)  # mean of eight; the last token runs for each
