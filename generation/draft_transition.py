"""The transition between guesses: what a blank could not know when it guessed, the token in front of its own.

    runs       x    |  #    #            both blanks guess without having seen t1, which is drawn in the same forward
    predicts   t1   |  g1   g2
    then       g1 = argmax(logits of # + M[t1]),  g2 = argmax(logits of # + M[g1])

`M` [V, V] says which tokens follow which, apart from all context, and has a low rank: M[t] = head(after(before(e_t))),
`e_t` the embedding of t at root mean square 1, so that it costs 2 x 64 x H numbers. It is learnt in minutes, on the
states of a model that stays as it is (training/transition.py). It moves guesses alone, and these are checked like all
others: no token of any answer depends on it.

It lies beside the weights of a checkpoint or an adapter in a file of its own (checkpoint_planned_diffusion.py).
Source: the low-rank transitions of arXiv 1910.11555 (NART-CRF); guesses in sequence as in arXiv 2402.05109 (Hydra).
"""

import weakref
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import nn

AT_ONCE = 16_384  # tokens whose embeddings are held in float32 together


class Table(NamedTuple):
    """A transition as rows of tokens, float32 [V, R] both: M[t, u] = said[t] @ heard[u]."""

    said: torch.Tensor
    heard: torch.Tensor


@dataclass(eq=False)
class DraftTransition:
    """A low-rank matrix of what follows what.

    Attributes:
        before: float [R, H], takes the embedding of the token in front.
        after: float [R, H], is added to the state from which the head guesses.
    """

    before: torch.Tensor
    after: torch.Tensor
    _of_head: "weakref.WeakKeyDictionary[nn.Module, Table]" = field(
        default_factory=weakref.WeakKeyDictionary, init=False, repr=False
    )

    def __reduce__(self) -> tuple[Any, ...]:  # to copy or pickle a model: what was worked out belongs to its head
        return DraftTransition, (self.before, self.after)

    def table(self, embedding: nn.Module, head: nn.Module, like: torch.Tensor) -> Table:
        """Return the rows of all tokens, worked out once for a head.

        Where weights have changed since, guesses are a little worse.

        Args:
            embedding, head: of the model, in whatever type their weights are.
            like: logits [..., V], on the device that the rows are wanted on.
        """
        kept = self._of_head.get(head)
        if kept is None or kept.heard.device != like.device or len(kept.heard) != like.shape[-1]:
            kept = self._of_head[head] = self._worked_out(embedding, head, like)
        return kept

    @torch.no_grad()
    def _worked_out(self, embedding: nn.Module, head: nn.Module, like: torch.Tensor) -> Table:
        inputs = getattr(head, "weight", like).dtype
        dtype = inputs if inputs.is_floating_point else like.dtype
        heard = head(self.after.to(like.device, dtype)).float().T.contiguous()
        before = self.before.to(like.device, torch.float32)
        ids = torch.arange(like.shape[-1], device=like.device)
        said = torch.cat([normalised(embedding(some)) @ before.T for some in ids.split(AT_ONCE)])
        return Table(said, heard)


def normalised(embedded: torch.Tensor) -> torch.Tensor:
    """Return embeddings [N, H] in float32, of root mean square 1: models differ by orders of magnitude."""
    return nn.functional.rms_norm(embedded.float(), embedded.shape[-1:], eps=1e-12)
