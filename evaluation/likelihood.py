"""The log-likelihood of answers under a model, in nats: how natural it finds a text, without a judge.

The model reads the prompt through its own chat template, then the answer as text from left to right, and its
log-softmax at the answer's tokens is added up. Several answers run in one forward, padded on the right.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from ..inference.answer import Checkpoint, Prompt
from ..modeling_planned_diffusion import PlannedDiffusionForCausalLM
from ..records.encoding import encode_prompt, encode_text

GROUP = 8  # answers in a forward

Pair = tuple[Sequence[int], Sequence[int]]  # ids of a context, at least one, and of the text behind it


@dataclass(frozen=True)
class Likelihood:
    """The log-likelihood of a text: the sum over its tokens, in nats, and their number."""

    total: float
    tokens: int


@dataclass(frozen=True)
class ScoredText:
    """The log-likelihood of a text behind its context, and whether each of its tokens is the model's likeliest."""

    likelihood: Likelihood
    is_greedy: bool


def likelihoods(checkpoint: Checkpoint, answers: Sequence[tuple[Prompt, str]]) -> list[Likelihood]:
    """Return the log-likelihood of every answer after its prompt; the end of the answer does not count."""
    tokenizer = checkpoint.tokenizer
    pairs = [(encode_prompt(tokenizer, prompt), encode_text(tokenizer, text)) for prompt, text in answers]
    return [one.likelihood for one in scored_texts(checkpoint.model, pairs)]


@torch.no_grad()
def scored_texts(
    model: PlannedDiffusionForCausalLM, pairs: Sequence[Pair], batch_size: int = GROUP
) -> list[ScoredText]:
    """Return the left-to-right score of every pair, computed in the precision of the model."""
    found: list[ScoredText] = []
    for start in range(0, len(pairs), batch_size):
        found += _of_group(model, pairs[start : start + batch_size])
    return found


def _of_group(model: PlannedDiffusionForCausalLM, group: Sequence[Pair]) -> list[ScoredText]:
    """Run contexts with their texts in one forward; the head runs on the rows of the texts only."""
    longest = max(len(context) + len(text) for context, text in group)
    ids = torch.zeros(len(group), longest, dtype=torch.long)  # [B, L]
    mask = torch.zeros_like(ids)
    for row, (context, text) in enumerate(group):
        filled = len(context) + len(text)
        ids[row, :filled] = torch.tensor([*context, *text])
        mask[row, :filled] = 1
    ids, mask = ids.to(model.device), mask.to(model.device)
    hidden = model.model(input_ids=ids, attention_mask=mask, use_cache=False).last_hidden_state  # [B, L, H]
    found = []
    for row, (context, text) in enumerate(group):
        stop = len(context) + len(text)
        logits = model.lm_head(hidden[row, len(context) - 1 : stop - 1]).float()  # [A, V]
        targets = ids[row, len(context) : stop]  # [A]
        scores = logits.log_softmax(-1).gather(-1, targets[:, None])  # [A, 1]
        is_greedy = bool((logits.argmax(-1) == targets).all())
        found.append(ScoredText(Likelihood(float(scores.double().sum()), len(text)), is_greedy))
    return found
