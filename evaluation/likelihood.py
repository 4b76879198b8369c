"""The log-likelihood of answers under a model, in nats: how natural it finds a text, without a judge.

The model reads the prompt through its own chat template, then the answer as text, and its log-softmax at the answer's
tokens is added up; the end of the answer does not count. Answers of a group run in one forward, padded on the right.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from ..inference.answer import Checkpoint, Prompt
from ..records.encoding import encode_prompt, encode_text

GROUP = 8  # answers in a forward


@dataclass(frozen=True)
class Likelihood:
    """The log-likelihood of a text: the sum over its tokens, in nats, and their number."""

    total: float
    tokens: int


@torch.no_grad()
def likelihoods(checkpoint: Checkpoint, answers: Sequence[tuple[Prompt, str]]) -> list[Likelihood]:
    """Return the log-likelihood of every answer after its prompt, computed in the precision of the model."""
    tokenizer = checkpoint.tokenizer
    encoded = [(encode_prompt(tokenizer, prompt), encode_text(tokenizer, text)) for prompt, text in answers]
    found: list[Likelihood] = []
    for start in range(0, len(encoded), GROUP):
        found += _of_group(checkpoint, encoded[start : start + GROUP])
    return found


def _of_group(checkpoint: Checkpoint, group: Sequence[tuple[list[int], list[int]]]) -> list[Likelihood]:
    """Run prompts with their answers in one forward; the head runs on the rows of the answers only."""
    model = checkpoint.model
    longest = max(len(prompt) + len(answer) for prompt, answer in group)
    ids = torch.zeros(len(group), longest, dtype=torch.long)  # [B, L]
    mask = torch.zeros_like(ids)
    for row, (prompt, answer) in enumerate(group):
        filled = len(prompt) + len(answer)
        ids[row, :filled] = torch.tensor([*prompt, *answer])
        mask[row, :filled] = 1
    ids, mask = ids.to(model.device), mask.to(model.device)
    hidden = model.model(input_ids=ids, attention_mask=mask, use_cache=False).last_hidden_state  # [B, L, H]
    found = []
    for row, (prompt, answer) in enumerate(group):
        stop = len(prompt) + len(answer)
        logits = model.lm_head(hidden[row, len(prompt) - 1 : stop - 1]).float()  # [A, V]
        scores = logits.log_softmax(-1).gather(-1, ids[row, len(prompt) : stop, None])  # [A, 1]
        found.append(Likelihood(float(scores.double().sum()), len(answer)))
    return found
