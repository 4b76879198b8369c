"""Transitions of drafts are learnt from the right tokens, do what generation does with them, and help."""

import numpy as np
import pytest
import torch

from planned_diffusion.checkpoint_planned_diffusion import TRANSITION
from planned_diffusion.generation.draft_transition import DraftTransition
from planned_diffusion.generation.visibility import DRAFT
from planned_diffusion.modeling_planned_diffusion import PlannedDiffusionForCausalLM
from planned_diffusion.training.collator import as_batch
from planned_diffusion.training.examples import encode_example
from planned_diffusion.training.guesses import Guesses, guesses_in
from planned_diffusion.training.transition import (
    Transition,
    TransitionSettings,
    fit,
    learn_transition,
    logits_of,
    shares_right,
    tune,
)

TWO_ROUNDS = "pqPa1TPb2T<xy><z>SPc1T<w>E"  # see test_corruption.py
EVERYWHERE = {"draft_weight": 1.0, "draft_anchors": 99, "draft_tokens": 3}
QUICK = TransitionSettings(rank=4, guesses=400, epochs=2)


@pytest.fixture(scope="module")
def model(config):
    torch.manual_seed(0)
    return PlannedDiffusionForCausalLM(config).eval()


def no_bar(title):
    from planned_diffusion.evaluation.bars import no_bar

    return no_bar(title)


@pytest.mark.parametrize("fields", [{}, {"plain_share": 1.0}, {"span_padding": [2, 2]}])
def test_each_guess_has_the_token_in_front_of_it(fields, model, row_of):
    """Behind an anchor at position a, the blank at p guesses the token behind the one at p: the label of row p - 1."""
    rows = [row_of(TWO_ROUNDS, seed, **EVERYWHERE, **fields) for seed in range(3)]
    found = guesses_in(as_batch(rows, packed_length=1000), model)
    before, right, place = [], [], []
    for row in rows:
        is_text = row.stream < DRAFT
        labels = {  # of the text of a part, by position: the token that follows
            (int(span), int(position)): int(label)
            for span, position, label in zip(row.span[is_text], row.position[is_text], row.labels[is_text], strict=True)
            if label >= 0
        }
        for index in np.flatnonzero((row.stream >= DRAFT) & (row.labels >= 0)):
            position, anchor = int(row.position[index]), int(row.stream[index]) - DRAFT
            before.append(labels[int(row.span[index]), position - 1])
            right.append(int(row.labels[index]))
            place.append(position - anchor - 1)
    assert (found.before.tolist(), found.right.tolist(), found.place.tolist()) == (before, right, place)
    assert len(found) > 20 and set(place) == {0, 1, 2}


def test_training_and_generation_mean_the_same(model):
    """Moved states through the head are logits and the product of what generation keeps."""
    transition = Transition(model.config.hidden_size, 4, torch.Generator().manual_seed(0))
    torch.nn.init.normal_(transition.after)
    kept = DraftTransition(transition.before.detach(), transition.after.detach())
    states, before = torch.randn(6, model.config.hidden_size), torch.arange(6)
    some = Guesses(states, before, before, before * 0, torch.ones(6))
    head, embedding = model.get_output_embeddings(), model.get_input_embeddings()
    with torch.no_grad():
        plain = head(states)
        said, heard = kept.table(embedding, head, like=plain)
        expected = plain + said[before] @ heard.T
        assert torch.allclose(logits_of(model, transition, some), expected, atol=1e-5)


@pytest.mark.parametrize("decoding", ["speculative", "parallel_speculative"])
def test_answers_take_fewer_forwards_where_it_knows_what_follows(decoding, build_model, prompts):
    """It learns by heart what follows what in an answer, from states that say nothing."""
    model, prompt = build_model(), torch.tensor(prompts(1, 12, seed=2))
    fields = {"decoding": decoding, "max_new_tokens": 60, "do_sample": False, "return_dict_in_generate": True}
    fields |= {"draft_lookup": 0, "draft_acceptance": 0.9, "draft_rows": 40}
    plain = model.generate(prompt, **fields)
    answer = plain.sequences[0, 12:]
    states = torch.zeros(len(answer) - 1, model.config.hidden_size)
    known = Guesses(states, answer[:-1], answer[1:], torch.zeros_like(answer[1:]), torch.ones(len(states)))
    transition = Transition(model.config.hidden_size, 48, torch.Generator().manual_seed(0))
    fit(model, transition, known, TransitionSettings(epochs=400), lambda done, total: None)
    [right] = shares_right(model, transition, known)
    assert right > 0.8
    model.draft_transition = DraftTransition(transition.before.detach(), 20 * transition.after.detach())
    linked = model.generate(prompt, **fields)
    assert linked.sequences.equal(plain.sequences)
    assert linked.trace[0].forwards < 0.6 * plain.trace[0].forwards


def test_the_model_stays_as_it_is_and_runs_are_repeated(model, records, tokenizer, control):
    weights = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    examples = [encode_example(record["messages"], tokenizer, control) for record in records * 3]
    learnt, again = (learn_transition(model, examples, QUICK, no_bar) for _ in range(2))
    assert learnt.transition.after.equal(again.transition.after) and learnt.transition.after.abs().sum() > 0
    assert learnt.guesses == 400 and len(learnt.shares_with) == len(learnt.shares_without) == 4
    assert all(tensor.equal(weights[name]) for name, tensor in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_bad_input_is_refused_and_nothing_is_written(model, workspace, tokenizer, tmp_path):
    for field in ("rank", "guesses", "epochs"):
        with pytest.raises(ValueError, match=f"{field} is 0; give at least 1"):
            TransitionSettings(**{field: 0})
    with pytest.raises(ValueError, match="seed is -1"):
        TransitionSettings(seed=-1)
    folder = tmp_path / "checkpoint"
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    with pytest.raises(ValueError, match="There are 8 records; give at least 10"):
        tune(folder, tmp_path / "train.jsonl", QUICK, no_bar)
    with pytest.raises(ValueError, match="There is no file"):
        tune(folder, tmp_path / "nothing.jsonl", QUICK, no_bar)
    assert not (folder / TRANSITION).exists()
