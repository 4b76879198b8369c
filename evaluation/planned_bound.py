"""A bound of the log-likelihood of a planned answer, in nats: its plan exactly, its spans by Monte Carlo.

    log p(answer) = log p(plan)  +  sum over rounds of log p(spans of the round | prompt, plan, earlier rounds)
                    left to right   masked diffusion

The plan's tokens, promises and terminators, are scored as they are drawn: one after the other, each seeing the finished
spans of earlier rounds. Spans have their promised room, pads included, as in generation. A model that writes N blanks
one at a time in random order has

    p(x) = mean over all orders of  product over places of  p(token | tokens written before)
    log p(x) >= mean over n = 1 ... N and over the sets M of n places of  N/n x sum over M of log p(token | all but M)

The second line is the bound of masked diffusion: the objective of training (training/rows.py) with n drawn uniformly in
place of a probability t, which has the same mean and less variance (arXiv 2502.09992). Sets are drawn in pairs of a
small and a large one, which lowers it further: per span where spans do not see each other (sparse), per round where
they do (dense). The softmax is over the whole vocabulary, as in training.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice

import numpy as np
import torch

from ..configuration_planned_diffusion import PlannedDiffusionConfig
from ..generation.plan import Unit
from ..generation.tokens import ControlTokens
from ..generation.visibility import NO_SPAN
from ..inference.answer import Checkpoint
from ..modeling_planned_diffusion import PlannedDiffusionForCausalLM
from ..training.collator import as_batch
from ..training.examples import Example
from ..training.loss import token_losses
from ..training.row import NO_LABEL, Row
from ..training.rows import PaddedExample, View, clean_row, noisy_row, pad_spans, span_lengths
from .likelihood import Likelihood
from .stamp import SEED

SAMPLES = 64
TOKENS_PER_FORWARD = 2048  # of prompt, plan and copies of the spans; one copy at least


@dataclass(frozen=True)
class PlannedBound:
    """A lower bound of the log-likelihood of a planned answer.

    plan: promises and terminators, exact.
    spans: the mean over `samples` draws for all spans together, pads included.
    error: standard error of that mean, in nats.
    """

    plan: Likelihood
    spans: Likelihood
    error: float
    samples: int

    @property
    def total(self) -> float:
        """Return the bound of the whole answer, in nats."""
        return self.plan.total + self.spans.total

    @property
    def tokens(self) -> int:
        """Return the tokens of plan and spans, pads included."""
        return self.plan.tokens + self.spans.tokens


@torch.no_grad()
def planned_bound(checkpoint: Checkpoint, example: Example, samples: int = SAMPLES, seed: int = SEED) -> PlannedBound:
    """Return the bound of a tagged example.

    Args:
        samples: draws, in pairs; the error falls with their square root.

    Raises:
        ValueError: fewer than 4 samples or an odd number, an answer without a plan, or a span that does not fit into
            its promised room.
    """
    check_samples(samples)
    if not example.is_tagged:
        raise ValueError("The answer has no plan; score it left to right.")
    model, control = checkpoint.model, ControlTokens.from_config(checkpoint.model.config)
    is_dense = model.config.span_attention == "dense"
    padded = pad_spans(example, pads_to_the_room(example, model.config), control, is_dense)
    clean = clean_row(padded)
    plan = -_losses(model, clean)
    context = replace(clean, labels=np.full_like(clean.labels, NO_LABEL))
    copies = _Copies(padded, control)
    masks = copies.masks(np.random.default_rng(seed))
    at_once = max(1, (TOKENS_PER_FORWARD - len(clean.ids)) // len(copies.position))
    sums: list[float] = []
    while len(sums) < samples:
        views = islice(masks, min(at_once, samples - len(sums)))
        rows = [copies.copy(view, index) for index, view in enumerate(views)]
        losses = -_losses(model, Row.joined([context, *rows]))
        weights = np.concatenate([row.weights[row.labels != NO_LABEL] for row in rows])
        ends = np.cumsum([np.count_nonzero(row.labels != NO_LABEL) for row in rows])
        sums += [float(part.sum()) for part in np.split(losses * weights, ends[:-1])]
    pairs = np.reshape(sums, (-1, 2)).mean(1)
    return PlannedBound(
        plan=Likelihood(float(plan.sum()), len(plan)),
        spans=Likelihood(float(pairs.mean()), int(copies.is_content.sum())),
        error=float(pairs.std(ddof=1) / len(pairs) ** 0.5),
        samples=samples,
    )


def check_samples(samples: int) -> None:
    """Raise ValueError for a number of samples that is no number of pairs, two at least."""
    if samples < 4 or samples % 2:
        raise ValueError(f"samples is {samples}; give an even number, at least 4, for an error to be told.")


class _Copies:
    """Masked copies of all spans.

    position: places of the tokens of all spans, int64 [S]; `is_content` and `group` are of these tokens.
    """

    def __init__(self, padded: PaddedExample, control: ControlTokens) -> None:
        self.padded, self.control = padded, control
        self.position = np.flatnonzero(padded.span != NO_SPAN)
        self.group = padded.group[self.position]
        self.is_content = padded.is_target[self.position]

    def masks(self, noise: np.random.Generator) -> Iterator[View]:
        """Yield masks for ever, in pairs: n places, and then all others and one of the n, N + 1 - n places.

        A small set has a large weight, so its score strays most; in a pair it comes with a large set.
        """
        groups = [self.group == group for group in np.unique(self.group)]
        while True:
            size = len(self.position)
            pair = [View(self.group, np.zeros(size, dtype=bool), np.zeros(size)) for _ in range(2)]
            for own in groups:
                order = noise.permutation(np.flatnonzero(self.is_content & own))
                count = noise.integers(1, len(order) + 1)
                for view, places in zip(pair, (order[:count], order[count - 1 :]), strict=True):
                    view.is_masked[places] = True
                    view.weight[own] = len(order) / len(places)  # also at `<async>`, which predicts the first token
            yield from pair

    def copy(self, view: View, index: int) -> Row:
        """Return a copy with this mask; those of different indices do not see each other."""
        own_group = self.group + index * (self.group.max() + 1)
        return noisy_row(self.padded, self.position, replace(view, group=own_group), self.control)


def pads_to_the_room(example: Example, config: PlannedDiffusionConfig) -> np.ndarray:
    """Return the pads that fill every span's promised room, int64 [spans].

    Raises:
        ValueError: a span that does not fit.
    """
    unit = Unit(config.tokens_per_length_unit)
    lengths = span_lengths(example)
    rooms = np.array([unit.length(promise.number) for promise in example.promises], dtype=np.int64)
    short = np.flatnonzero(rooms < lengths)
    if len(short):
        place = short[0]
        raise ValueError(
            f"The span {example.promises[place].topic!r} has {lengths[place]} tokens, and its promise of "
            f"{example.promises[place].number} is room for {rooms[place]}; promise at least "
            f"{unit.number(int(lengths[place]))}."
        )
    return rooms - lengths


def _losses(model: PlannedDiffusionForCausalLM, row: Row) -> np.ndarray:
    """Return the cross entropies at the labels of a row, in order: float64 [K]."""
    batch = {name: value.to(model.device) for name, value in as_batch([row]).items()}
    return token_losses(model, batch).double().cpu().numpy()
