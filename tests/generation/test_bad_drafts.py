"""Drafts that cannot be used, NaN, ends and pads among them: they change nothing but the count of forwards."""

import copy

import pytest
import torch

from planned_diffusion.generation.draft_adapter import new_settings
from planned_diffusion.generation.draft_gate import gate_adapter
from planned_diffusion.generation.engine.runner import Runner
from planned_diffusion.generation.visibility import DRAFT

peft = pytest.importorskip("peft")

TWINS = {"speculative": "autoregressive", "parallel_speculative": "parallel_autoregressive"}
PLAN = [[[104, 30, 20, 105, 104, 31, 18, 105, 106], [104, 32, 24, 105, 100]]]


def fields_of(decoding: str, batch: int) -> dict:
    given = {"plan": PLAN * batch, "keep_plan": True} if decoding.startswith("parallel") else {}
    return {"decoding": decoding, "max_new_tokens": 50, "do_sample": False, **given}


@pytest.fixture
def model(build_model):
    return build_model(seed=5, tokens_per_length_unit=1)


@pytest.fixture
def change_guesses(monkeypatch):
    """Replaces the logits of draft rows: change_guesses(function of logits [D, V], in place); counts them."""

    def change(function) -> list[int]:
        original, changed = Runner.logits, []

        def logits(runner, packed):
            found = original(runner, packed)
            rows = [place for place, row in enumerate(packed.wanted) if packed.layout.streams[row] >= DRAFT]
            if rows:
                changed.append(len(rows))
                guesses = found[rows]
                function(guesses)
                found[rows] = guesses
            return found

        monkeypatch.setattr(Runner, "logits", logits)
        return changed

    return change


def likeliest(token: int):
    """Have every blank guess one token."""
    return lambda logits: logits.index_fill_(-1, torch.tensor([token]), 1e4)


GUESSES = {
    "NaN": lambda logits: logits.fill_(torch.nan),
    "infinite": lambda logits: logits.fill_(torch.inf),
    "one NaN": lambda logits: logits[:, 7].fill_(torch.nan),
    "an end": likeliest(100),
    "a pad": likeliest(107),
    "a blank": likeliest(101),
    "a tag": likeliest(104),
    "one word": likeliest(40),
}


@pytest.mark.parametrize("guess", GUESSES)
@pytest.mark.parametrize("decoding", TWINS)
def test_bad_guesses_change_no_token(decoding, guess, model, prompts, left_padded, change_guesses):
    ids, mask = left_padded(prompts(3, 12, seed=2))
    expected = model.generate(ids, attention_mask=mask, **fields_of(TWINS[decoding], 3))
    changed = change_guesses(GUESSES[guess])
    assert model.generate(ids, attention_mask=mask, **fields_of(decoding, 3)).equal(expected)
    assert changed


@pytest.mark.parametrize("decoding", TWINS)
def test_an_adapter_of_nan_changes_no_token(decoding, model, prompts, left_padded):
    """Its keys and values are NaN as well, and what nobody sees is multiplied by zero, which NaN survives."""
    settings = new_settings(r=2, target_modules="all-linear", task_type="CAUSAL_LM", init_lora_weights=False)
    gated = peft.get_peft_model(copy.deepcopy(model), settings).eval()
    for name, weight in gated.named_parameters():
        if "lora_B" in name:
            weight.data.fill_(torch.nan)
    gate_adapter(gated)
    ids, mask = left_padded(prompts(2, 12, seed=3))
    expected = model.generate(ids, attention_mask=mask, **fields_of(TWINS[decoding], 2))
    assert gated.get_base_model().generate(ids, attention_mask=mask, **fields_of(decoding, 2)).equal(expected)
