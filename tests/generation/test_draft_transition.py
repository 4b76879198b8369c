"""The transition of drafts: it moves guesses as a loop over all tokens does, and no token of any answer."""

import copy
import pickle
from types import SimpleNamespace

import pytest
import torch

from planned_diffusion.generation.draft_transition import DraftTransition
from planned_diffusion.generation.engine import linked_guesses
from planned_diffusion.generation.engine.runner import Runner
from planned_diffusion.generation.query import Query
from planned_diffusion.generation.tokens import Allowed
from planned_diffusion.generation.visibility import CLEAN, DRAFT

ANY = Allowed(only=False, ids=frozenset())
PLAN = [[[104, 30, 20, 105, 104, 31, 18, 105, 106], [104, 32, 24, 105, 100]]]
FIELDS = {
    "speculative": {"decoding": "speculative", "max_new_tokens": 60},
    "parallel_speculative": {"decoding": "parallel_speculative", "plan": PLAN, "keep_plan": True, "max_new_tokens": 60},
}


def transition_of(model, size: float = 1.0, rank: int = 8) -> DraftTransition:
    """A random one; `size` says how much it moves."""
    generator = torch.Generator().manual_seed(1)
    width = model.config.hidden_size
    return DraftTransition(*(size * torch.randn(rank, width, generator=generator) for _ in range(2)))


def query(positions, streams, drafts) -> Query:
    wanted, other = list(range(len(positions))), [0] * len(positions)
    return Query([0] * len(positions), positions, other, other, wanted, ANY, "decoding", streams=streams,
                 drafts=drafts)  # fmt: skip


def requests(*queries):
    return [SimpleNamespace(query=one) for one in queries]


def test_guesses_are_counted_by_level():
    first = query([5, 6, 6, 7, 7], [CLEAN, CLEAN, DRAFT + 5, DRAFT + 5, DRAFT + 6], drafts=3)  # ## behind 5, # behind 6
    plain = query([3], [CLEAN], drafts=0)
    second = query([9, 10, 11, 12], [CLEAN, DRAFT + 9, DRAFT + 9, DRAFT + 9], drafts=3)  # ### behind 9
    levels = linked_guesses.links_of(requests(first, plain, second))
    assert levels == [[(2, 0), (4, 1), (7, 6)], [(3, 2), (8, 7)], [(9, 8)]]
    assert linked_guesses.links_of(requests(plain)) == []


@pytest.mark.parametrize("tie", [False, True])
def test_guesses_are_those_of_a_loop_over_all_tokens(tie, build_model):
    """By hand: the state's logits, and the head of what two plain products make of the token in front."""
    model = build_model(tie=tie)
    model.draft_transition = transition_of(model)
    generator = torch.Generator().manual_seed(0)
    logits = 10 * torch.randn(10, model.config.vocab_size, generator=generator)
    logits[4, 7:] = logits[8, :90] = torch.finfo(torch.float32).min  # not allowed
    drawn = logits.argmax(-1).float()
    expected = drawn.clone()
    links = [[(2, 0), (4, 1), (7, 6)], [(3, 2), (8, 7)], [(9, 8)]]
    embedding, head = model.get_input_embeddings().weight, model.get_output_embeddings().weight
    for level in links:
        for row, before in level:
            embedded = embedding[int(expected[before])]
            said = model.draft_transition.before @ (embedded / embedded.square().mean().sqrt())
            expected[row] = (logits[row] + head @ (model.draft_transition.after.T @ said)).argmax()
    with torch.inference_mode():
        linked_guesses.link_guesses(drawn, logits, links, Runner(model))
    assert drawn.tolist() == expected.tolist()
    assert drawn.tolist() != logits.argmax(-1).tolist() and drawn[4] < 7 and drawn[8] >= 90


@pytest.mark.parametrize("size", [0.3, 100.0, float("nan")])
@pytest.mark.parametrize("decoding", FIELDS)
@pytest.mark.parametrize("sampled", [False, True])
def test_no_token_is_another(sampled, decoding, size, build_model, prompts, left_padded):
    """Alone, in a batch and sampled; not even by numbers that are none."""
    model = build_model(tokens_per_length_unit=1)
    ids, mask = left_padded(prompts(5, 12, seed=2))
    fields = FIELDS[decoding] | {"draft_tokens": 4, "draft_acceptance": 0.9, "do_sample": sampled, "seed": 3}
    if "plan" in fields:
        fields["plan"] = PLAN * 5
    expected = model.generate(ids, attention_mask=mask, **fields)
    model.draft_transition = transition_of(model, size)
    assert model.generate(ids, attention_mask=mask, **fields).equal(expected)
    if "plan" in fields:
        fields["plan"] = PLAN
    linked = model.generate(ids[:1], attention_mask=mask[:1], **fields)
    model.draft_transition = None
    assert linked.equal(model.generate(ids[:1], attention_mask=mask[:1], **fields))


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
def test_a_model_with_one_may_be_copied_and_pickled(copied, build_model, prompts):
    """What was worked out for its head stays behind."""
    model, prompt = build_model(), torch.tensor(prompts(1, 12, seed=2))
    model.draft_transition = transition_of(model)
    expected = model.generate(prompt, **FIELDS["speculative"], do_sample=False)
    again = copied(model)
    assert again.draft_transition.before.equal(model.draft_transition.before)
    assert again.draft_transition.after.equal(model.draft_transition.after)
    assert again.generate(prompt, **FIELDS["speculative"], do_sample=False).equal(expected)


def test_the_vocabulary_may_grow(build_model, prompts):
    """The rows that a head gives are those of the head as it is now."""
    model, prompt = build_model(), torch.tensor(prompts(1, 12, seed=2))
    model.draft_transition = transition_of(model)
    fields = FIELDS["speculative"] | {"do_sample": False}
    expected = model.generate(prompt, **fields)
    model.resize_token_embeddings(model.config.vocab_size + 8)
    with torch.no_grad():
        model.get_output_embeddings().weight[-8:] = 0
        model.get_output_embeddings().weight[-8:, 0] = -1e4
    assert model.generate(prompt, **fields).shape[0] == expected.shape[0]
