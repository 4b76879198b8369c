"""Drafts that cannot be used, NaN, ends and pads among them: they change nothing but the count of forwards."""

import copy
import re

import pytest
import torch

from planned_diffusion.generation import draft_verdict
from planned_diffusion.generation.draft_adapter import new_settings
from planned_diffusion.generation.draft_gate import gate_adapter
from planned_diffusion.generation.engine.runner import Runner
from planned_diffusion.generation.trace import Trace
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


@pytest.fixture
def told(monkeypatch):
    """What is warned of."""
    lines = []
    monkeypatch.setattr(draft_verdict.logger, "warning", lines.append)
    return lines


def test_a_model_that_drafts_badly_is_told_of_once(model, prompts, change_guesses, told):
    """Its answers come all the same; how many guesses were right is what its traces count."""
    change_guesses(GUESSES["a tag"])
    traces = []
    for prompt in prompts(12, 12, seed=2):
        ids = torch.tensor([prompt])
        out = model.generate(ids, return_dict_in_generate=True, draft_lookup=0, **fields_of("speculative", 1))
        traces += out.trace
        checked = sum(sum(trace.drafts_checked[:1]) for trace in traces)
        assert len(told) == (checked >= draft_verdict.ENOUGH)
    assert len(told) == 1
    assert re.match(r"Of the first \d+ guesses of a next token [01] were right: .* train a drafter", told[0])


def test_right_guesses_are_not_warned_of(told):
    model = torch.nn.Linear(1, 1)
    traces = [trace_of(drafts_checked=(20, 8), drafts_accepted=right) for right in ((2,), (2, 1), (0,))]
    for trace in traces[:2]:
        draft_verdict.judge_drafts(model, [trace])
    draft_verdict.judge_drafts(torch.nn.Linear(1, 1), [trace_of()])
    assert not told, "4 of 40 are a tenth"
    draft_verdict.judge_drafts(model, [traces[2]])
    assert not told, "judged already"
    draft_verdict.judge_drafts(torch.nn.Linear(1, 1), [traces[2]])
    assert not told, "too few to judge"
    draft_verdict.judge_drafts(torch.nn.Linear(1, 1), [traces[2], traces[0]])
    assert told[0].startswith("Of the first 40 guesses of a next token 2 were right")


def trace_of(**fields) -> Trace:
    return Trace(30, 0, 0, 30, 0, 30, 40, 50, 1.0, **fields)
