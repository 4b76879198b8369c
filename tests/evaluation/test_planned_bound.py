"""The bound of planned answers, beside the truth of a model that is small enough to be asked for all orders."""

import functools
import itertools
import math

import numpy as np
import pytest
import torch

from planned_diffusion.evaluation.planned_bound import planned_bound
from planned_diffusion.generation.tokens import ControlTokens
from planned_diffusion.inference.answer import Checkpoint
from planned_diffusion.training.examples import encode_example
from planned_diffusion.training.objective import Objective
from planned_diffusion.training.row import NO_LABEL, SPAN
from planned_diffusion.training.rows import draw_row

MASK, CLOSE, PAD = 101, 103, 107
ONE = "<promise>-<topic>a 4</topic><async>Bees</async>"
PADDED = "<promise>-<topic>a 4</topic><async>No</async>"
TWO = "<promise>-<topic>a 3</topic><promise>-<topic>b 2</topic><async>yes</async><async>ok</async>"
ROUNDS = "<promise>-<topic>a 3</topic><async>yes</async><sync/><promise>-<topic>b 2</topic><async>x</async>"


@pytest.fixture(scope="module", params=["sparse", "dense", "repeated"])
def checkpoint(request, build_model, byte_tokenizer):
    """A random model with opinions of its own; a length unit is a token."""
    repeats = request.param == "repeated"
    attention = "sparse" if repeats else request.param
    model = build_model(seed=5, span_attention=attention, tokens_per_length_unit=1, repeat_promises=repeats)
    return Checkpoint(model, byte_tokenizer, "random")


def example_of(checkpoint, answer, prompt="Hi"):
    control = ControlTokens.from_config(checkpoint.model.config)
    chat = [{"role": "user", "content": prompt}, {"role": "assistant", "content": answer}]
    return encode_example(chat, checkpoint.tokenizer, control)


class Written:
    """An answer written out with its pads: ids, and per token its span (None outside) and its round."""

    def __init__(self, checkpoint, example):
        self.model = checkpoint.model
        self.ids, self.span, self.round, self.given = [], [], [], []
        rooms = [promise.number for promise in example.promises]
        columns = (example.ids, example.span, example.round, example.is_target)
        for token, span, round_index, is_target in zip(*columns, strict=True):
            own = None if span < 0 else int(span)
            copies = 1
            if own is not None and token == CLOSE:
                copies += rooms[own] - example.promises[own].tokens
            for number in range(copies):
                self.ids.append(PAD if number < copies - 1 else int(token))
                self.span.append(own)
                self.round.append(int(round_index))
                self.given.append(not is_target and self.ids[-1] != PAD)
        self.dense = checkpoint.model.config.span_attention == "dense"
        self.prompt_length = example.prompt_length

    def sees(self, query: int, key: int) -> bool:
        if self.span[query] is not None and self.span[key] is not None and self.round[query] == self.round[key]:
            return self.dense or self.span[query] == self.span[key]
        return key <= query and (self.span[key] is None or self.round[key] < self.round[query])

    def log_softmax(self, blank: frozenset[int]) -> torch.Tensor:
        """[N, V], with these places blank, from one forward with a mask that a double loop made."""
        ids = torch.tensor([[MASK if place in blank else token for place, token in enumerate(self.ids)]])
        size = range(len(self.ids))
        mask = torch.tensor([[[[self.sees(query, key) for key in size] for query in size]]])
        with torch.no_grad():
            out = self.model(input_ids=ids, attention_mask=mask, position_ids=torch.arange(len(self.ids))[None])
        return out.logits[0].double().log_softmax(-1)

    def plan(self) -> float:
        outside = [place for place in range(len(self.ids)) if self.span[place] is None]
        scores = self.log_softmax(frozenset())
        pairs = [pair for pair in itertools.pairwise(outside) if pair[1] >= self.prompt_length]
        return sum(float(scores[before, self.ids[place]]) for before, place in pairs)

    def groups(self) -> list[list[int]]:
        """Places of content that are written together."""
        found = {}
        for place, is_given in enumerate(self.given):
            if self.span[place] is not None and not is_given:
                found.setdefault(self.round[place] if self.dense else self.span[place], []).append(place)
        return list(found.values())

    def spans(self) -> tuple[float, float]:
        """The truth, and the exact bound: over all orders."""
        truth = bound = 0.0
        for places in self.groups():
            chances, total = {frozenset(): 1.0}, 0.0  # of having written a set of places
            for count in range(len(places)):
                grown = {}
                for written in map(frozenset, itertools.combinations(places, count)):
                    blank = frozenset(places) - written
                    scores = self.log_softmax(blank)
                    for place in blank:
                        score = float(scores[place - 1, self.ids[place]])
                        share = chances[written] * math.exp(score) / len(blank)
                        grown[written | {place}] = grown.get(written | {place}, 0.0) + share
                        total += score / len(blank) / math.comb(len(places), count)
                chances |= grown
            truth += math.log(chances[frozenset(places)])
            bound += total
        return truth, bound


@pytest.mark.parametrize("answer", [ONE, PADDED, TWO, ROUNDS])
def test_the_bound_is_that_over_all_orders_and_never_better_than_the_truth(checkpoint, answer):
    example = example_of(checkpoint, answer)
    written = Written(checkpoint, example)
    truth, exact = written.spans()
    assert exact < truth - 0.01  # something to be wrong about
    found = planned_bound(checkpoint, example, samples=600)
    assert found.plan.total == pytest.approx(written.plan(), abs=1e-4)
    assert found.spans.total == pytest.approx(exact, abs=4 * found.error)
    assert found.spans.total < truth + 3 * found.error
    assert found.spans.tokens == sum(map(len, written.groups()))
    assert found.total == found.plan.total + found.spans.total and found.tokens > found.spans.tokens


def test_the_error_tells_how_far_the_bound_is_off_and_falls_with_samples(checkpoint):
    example = example_of(checkpoint, ONE)
    _, exact = Written(checkpoint, example).spans()
    few, many = ([planned_bound(checkpoint, example, size, seed) for seed in range(40)] for size in (8, 128))
    for runs in (few, many):
        off = np.sqrt(np.mean([(one.spans.total - exact) ** 2 for one in runs]))
        assert off == pytest.approx(np.mean([one.error for one in runs]), rel=0.4)
    assert np.mean([one.error for one in many]) == pytest.approx(np.mean([one.error for one in few]) / 4, rel=0.4)


def test_the_truth_is_a_distribution(checkpoint):
    """All answers of two tokens together have probability 1, so the truth above is what it says."""
    written = Written(checkpoint, example_of(checkpoint, "<promise>-<topic>a 2</topic><async>ab</async>"))
    [[first, second]] = written.groups()
    both = written.log_softmax(frozenset({first, second})).exp()
    total = 0.0
    for place, other in ((first, second), (second, first)):
        for token in range(112):
            written.ids[place] = token
            total += 0.5 * float(
                both[place - 1, token] * written.log_softmax(frozenset({other})).exp()[other - 1].sum()
            )
    assert total == pytest.approx(1)


def test_one_token_has_one_order_and_no_error(checkpoint):
    example = example_of(checkpoint, "<promise>-<topic>a 1</topic><async>b</async>")
    truth, _ = Written(checkpoint, example).spans()
    found = planned_bound(checkpoint, example, samples=4)
    assert (found.spans.total, found.error) == (pytest.approx(truth, abs=1e-4), pytest.approx(0, abs=1e-5))


def test_the_bound_is_the_mean_of_the_training_objective(checkpoint):
    """Up to the noise levels below `noise_range`, which training leaves out."""
    example, control = example_of(checkpoint, TWO), ControlTokens.from_config(checkpoint.model.config)
    attention = checkpoint.model.config.span_attention
    objective = Objective(span_padding=[0, 0], complementary_masks=False, span_attention=attention)
    rng, written, sums = np.random.default_rng(0), Written(checkpoint, example), []
    scores_of = functools.cache(written.log_softmax)
    for _ in range(1500):
        row = draw_row(example, objective, control, rng)
        counts = np.flatnonzero((row.labels != NO_LABEL) & (row.loss_part == SPAN))
        scores = scores_of(frozenset(int(row.position[place]) + 1 for place in counts))
        sums.append(sum(float(scores[row.position[place], row.labels[place]] * row.weights[place]) for place in counts))
    error = np.std(sums) / len(sums) ** 0.5
    found = planned_bound(checkpoint, example, samples=600)
    assert found.spans.total == pytest.approx(np.mean(sums), abs=4 * (error + found.error))


def test_copies_that_share_a_forward_are_as_good_as_apart(checkpoint, monkeypatch):
    example = example_of(checkpoint, ROUNDS)
    together = planned_bound(checkpoint, example, samples=12)
    monkeypatch.setattr("planned_diffusion.evaluation.planned_bound.TOKENS_PER_FORWARD", 1)
    apart = planned_bound(checkpoint, example, samples=12)
    assert together.spans.total == pytest.approx(apart.spans.total, abs=1e-4)
    assert together.error == pytest.approx(apart.error, abs=1e-4)


def test_refused(checkpoint):
    with pytest.raises(ValueError, match="The answer has no plan; score it left to right"):
        planned_bound(checkpoint, example_of(checkpoint, "plain"))
    with pytest.raises(ValueError, match="'a' has 4 tokens, and its promise of 3 is room for 3; promise at least 4"):
        planned_bound(checkpoint, example_of(checkpoint, ONE.replace("4", "3")))
    for samples in (2, 5):
        with pytest.raises(ValueError, match=f"samples is {samples}; give an even number, at least 4"):
            planned_bound(checkpoint, example_of(checkpoint, ONE), samples)
