"""Drafts of real (random) models: the answers are those of the decoders without drafts, alone, in batches, sampled."""

import math
from itertools import product

import pytest
import torch
from transformers import LogitsProcessorList, StoppingCriteriaList
from transformers.generation.logits_process import RepetitionPenaltyLogitsProcessor

from planned_diffusion.generation.engine import engine, guess_rows
from planned_diffusion.generation.visibility import DRAFT

TWINS = {"speculative": "autoregressive", "parallel_speculative": "parallel_autoregressive"}
PLAN = [[[104, 30, 20, 105, 104, 31, 18, 105, 106], [104, 32, 24, 105, 100]]]
DRAWS, LIKELIEST, LENGTH = 20_000, 3, 3


def fields_of(decoding: str) -> dict:
    """Fields that make a tiny model write something worth comparing."""
    given = {"plan": PLAN, "keep_plan": True} if decoding.startswith("parallel") else {}
    return {"decoding": decoding, "max_new_tokens": 60, "do_sample": False, **given}


@pytest.mark.parametrize("drafts", [0, 1, 3, 8])
@pytest.mark.parametrize("decoding", TWINS)
def test_answers_are_those_without_drafts(decoding, drafts, build_model, prompts):
    for seed, prompt in enumerate(prompts(4, 12, seed=2)):
        model, prompt = build_model(seed=seed, tokens_per_length_unit=1), torch.tensor([prompt])
        expected = model.generate(prompt, **fields_of(TWINS[decoding]))
        assert model.generate(prompt, draft_tokens=drafts, **fields_of(decoding)).equal(expected)


@pytest.mark.parametrize(
    ("decoding", "field"),
    [*product(TWINS, ("draft_tokens", "draft_lookup", "draft_rows")), ("parallel_autoregressive", "plan_drafts")],
)
def test_no_number_of_guesses_is_too_large(decoding, field, build_model):
    """Guesses are kept account of, and a repetition is looked up to any length: neither may follow such a field."""
    prompt = torch.tensor([[7, 31, 64, 31, 64, 31, 64]])
    for seed in range(3):
        model = build_model(seed=seed, tokens_per_length_unit=1)
        expected = model.generate(prompt, **fields_of(TWINS.get(decoding, decoding)))
        assert model.generate(prompt, **{field: 10**20}, **fields_of(decoding)).equal(expected)


def test_plans_of_the_model_are_drafted_too(planner, prompts):
    written = 0
    for prompt in prompts(6, 30, seed=4):
        prompt, fields = torch.tensor([prompt]), {"max_new_tokens": 120, "max_spans": 4, "do_sample": False}
        fields |= {"keep_plan": True, "return_dict_in_generate": True}
        twin = planner.generate(prompt, decoding="parallel_autoregressive", **fields)
        for lookahead in (0, 3):
            out = planner.generate(prompt, decoding="parallel_speculative", plan_lookahead=lookahead, **fields)
            assert out.sequences.equal(twin.sequences)
        written += len(out.plans[0])
    assert written


@pytest.mark.parametrize(
    ("decoding", "fields"),
    [
        ("planned", {"confidence_threshold": 0.5}),
        ("parallel_autoregressive", {}),
        ("self_verified", {"steps_ratio": 0.3}),
    ],
)
def test_plans_may_be_drafted_for_any_way_of_filling(decoding, fields, planner, prompts):
    """`plan_drafts` changes how many forwards a plan takes, and nothing of the answer."""
    for prompt in prompts(4, 30, seed=6):
        prompt, given = torch.tensor([prompt]), {"max_new_tokens": 120, "max_spans": 4, "do_sample": False}
        given |= {"keep_plan": True, "return_dict_in_generate": True, "decoding": decoding, **fields}
        plain = planner.generate(prompt, **given)
        drafted = planner.generate(prompt, plan_drafts=4, draft_acceptance=0.9, **given)
        assert drafted.sequences.equal(plain.sequences)
        assert drafted.trace[0].planning <= plain.trace[0].planning
        assert drafted.trace[0].tokens_run > plain.trace[0].tokens_run  # blanks ran


def test_a_batch_is_its_rows(build_model, prompts):
    model, rows = build_model(seed=1), prompts(5, 12, seed=3)
    longest = max(map(len, rows))
    padded = torch.tensor([[0] * (longest - len(row)) + list(row) for row in rows])
    mask = torch.tensor([[0] * (longest - len(row)) + [1] * len(row) for row in rows])
    fields = {"decoding": "speculative", "max_new_tokens": 40, "do_sample": False, "return_dict_in_generate": True}
    together = model.generate(padded, attention_mask=mask, **fields)
    for number, row in enumerate(rows):
        alone = model.generate(torch.tensor([row]), **fields).sequences[0, len(row) :]
        assert together.sequences[number, longest:][: len(alone)].equal(alone)


@pytest.mark.parametrize("decoding", TWINS)
def test_processors_and_stopping_criteria(decoding, build_model, prompts):
    model, prompt = build_model(seed=2, tokens_per_length_unit=1), torch.tensor([prompts(1, 12, seed=5)[0]])
    plain = model.generate(prompt, **fields_of(TWINS[decoding]))
    target = int(plain[0, -4])
    for more in (
        {"logits_processor": LogitsProcessorList([RepetitionPenaltyLogitsProcessor(1.7)])},
        {"stopping_criteria": StoppingCriteriaList([lambda ids, scores, **_: ids[:, -1] == target])},
    ):
        expected = model.generate(prompt, **fields_of(TWINS[decoding]), **more)
        assert model.generate(prompt, **fields_of(decoding), **more).equal(expected)


def test_drafts_leave_no_states_behind(build_model):
    model = build_model(seed=3)
    ran = []
    hand_out = engine.Engine._hand_out

    def watch(self, selected, drawn):
        ran.append(any(stream >= DRAFT for request in selected for stream in request.query.streams))
        hand_out(self, selected, drawn)
        held = [state for states in self.runners[0].slots._of.values() for state in states]
        assert not [stream for stream, _ in held if stream >= DRAFT]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(engine.Engine, "_hand_out", watch)
        model.generate(torch.tensor([[5, 60, 33, 97]]), decoding="speculative", max_new_tokens=20, do_sample=False)
    assert any(ran)


def exact_probabilities(model, prompt: torch.Tensor, forbidden: list[int], eos: set[int]) -> dict[tuple, float]:
    """Return the probability of every answer of LENGTH tokens among the LIKELIEST, by forwards of the model itself."""
    found, open_ = {}, {(): 1.0}
    while open_:
        answer, chance = open_.popitem()
        ids = torch.cat([prompt, torch.tensor([answer], dtype=torch.long)], dim=1)
        with torch.no_grad():
            logits = model(ids, use_cache=False).logits[0, -1].double()
        logits[forbidden] = -math.inf
        likeliest = logits.topk(LIKELIEST)
        for token, share in zip(likeliest.indices.tolist(), likeliest.values.softmax(-1).tolist(), strict=True):
            longer = (*answer, token)
            ended = len(longer) == LENGTH or token in eos
            (found if ended else open_)[longer] = chance * share
    return found


@pytest.mark.slow
def test_samples_have_the_distribution_of_left_to_right(build_model, golden_tokens, monkeypatch):
    """Chi-square of whole answers; the bound is that of one chance in a thousand."""
    model, prompt = build_model(seed=1), torch.tensor([[5, 60, 33, 97, 12, 80]])
    expected = exact_probabilities(model, prompt, sorted(golden_tokens.tags), set(golden_tokens.eos))
    fields = {"max_new_tokens": LENGTH, "do_sample": True, "temperature": 1.0, "top_k": LIKELIEST, "seed": 5}
    monkeypatch.setitem(guess_rows.FREE_ROWS, "cpu", 4096)  # many requests at a time, and rows to spare for all
    monkeypatch.setattr(guess_rows, "ROW_COST_SMALL", 1e-4)
    monkeypatch.setattr(guess_rows, "ROW_COST_SHARED", {})
    fields |= {"decoding": "speculative", "draft_tokens": 2, "num_return_sequences": DRAWS}
    out = model.generate(prompt, return_dict_in_generate=True, **fields)
    assert sum(trace.drafts_accepted[0] for trace in out.trace if trace.drafts_accepted) > DRAWS / 100
    rows = out.sequences
    counts = dict.fromkeys(expected, 0)
    for row in rows[:, prompt.shape[1] :].tolist():
        stop = next((place + 1 for place, token in enumerate(row) if token in golden_tokens.eos), LENGTH)
        counts[tuple(row[:stop])] += 1
    square = sum((counts[answer] - DRAWS * share) ** 2 / (DRAWS * share) for answer, share in expected.items())
    degrees = len(expected) - 1
    assert degrees > len([*product(range(LIKELIEST), repeat=2)])
    bound = degrees * (1 - 2 / (9 * degrees) + 3.09 * math.sqrt(2 / (9 * degrees))) ** 3  # Wilson and Hilferty
    assert square < bound, (square, bound)
