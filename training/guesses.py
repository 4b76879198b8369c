"""Run the blanks of a model over records: the states from which they guess, and what they should guess.

    text      x  t1 t2 t3        a blank's state, the token in front of the one that it guesses, the right guess:
    blanks    #  #               of the first one t1 and t2, of the second one t2 and t3

Blanks stand behind anchors as in training (draft_rows.py).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from ..generation.draft_gate import backbone_of
from ..generation.tokens import ControlTokens
from ..generation.visibility import CAUSAL, CLEAN, DRAFT
from ..modeling_planned_diffusion import PlannedDiffusionForCausalLM
from .collator import PlannedDiffusionCollator
from .examples import Example
from .loss import inputs_of
from .objective import Objective
from .row import NO_LABEL

EXAMPLES_AT_ONCE = 8
# What is learnt of a record: mostly plain text and parts as they are read left to right, with many anchors.
OBJECTIVE = Objective(draft_weight=1.0, draft_anchors=16, draft_tokens=4, plain_share=0.5, drafts_alone=True)

Show = Callable[[int, int], None]  # called with (done, total)


@dataclass(frozen=True)
class Guesses:
    """Blanks of a model and what they should guess.

    Attributes:
        states: float [G, H], from which the head guesses.
        before: int64 [G], the tokens in front of those to be guessed.
        right: int64 [G].
        place: int64 [G], of the blank behind its anchor, from 0.
        weights: float32 [G].
    """

    states: torch.Tensor
    before: torch.Tensor
    right: torch.Tensor
    place: torch.Tensor
    weights: torch.Tensor

    def __len__(self) -> int:
        return len(self.right)

    def __getitem__(self, rows: torch.Tensor | slice) -> "Guesses":
        return Guesses(self.states[rows], self.before[rows], self.right[rows], self.place[rows], self.weights[rows])

    @classmethod
    def joined(cls, pieces: Sequence["Guesses"]) -> "Guesses":
        """Return the guesses of all pieces."""
        names = ("states", "before", "right", "place", "weights")
        return cls(**{name: torch.cat([getattr(piece, name) for piece in pieces]) for name in names})


def guesses_of(
    model: PlannedDiffusionForCausalLM, examples: Sequence[Example], seed: int, most: int, show: Show
) -> Guesses:
    """Run the blanks of examples, in random order, until there are enough guesses or no more examples."""
    config = model.config
    objective = replace(
        OBJECTIVE,
        span_attention=config.span_attention,
        tokens_per_length_unit=config.tokens_per_length_unit,
        fill_promised_room=True,
        seed=seed,
    )
    collate = PlannedDiffusionCollator(examples, objective, ControlTokens.from_config(config), packed_length=1)
    order = np.random.default_rng(seed).permutation(len(examples)).tolist()
    found: list[Guesses] = []
    count = 0
    for start in range(0, len(order), EXAMPLES_AT_ONCE):
        batch = collate([{"index": index} for index in order[start : start + EXAMPLES_AT_ONCE]])
        piece = guesses_in({name: tensor.to(model.device) for name, tensor in batch.items()}, model)
        found.append(piece)
        count += len(piece)
        show(min(count, most), most)
        if count >= most:
            break
    return Guesses.joined(found)[:most]


@torch.no_grad()
def guesses_in(batch: dict[str, torch.Tensor], model: PlannedDiffusionForCausalLM) -> Guesses:
    """Run the blanks of a batch, as the collator gives it; those without a label are left out."""
    backbone = backbone_of(model)
    states = backbone(**inputs_of(model, batch)).last_hidden_state  # [B, L, H]
    is_guess = (batch["labels"] != NO_LABEL) & (batch["stream"] >= DRAFT)
    position = batch["position_ids"][is_guess]
    return Guesses(
        states=states[is_guess],
        before=torch.tensor(tokens_in_front(batch, is_guess), device=position.device),
        right=batch["labels"][is_guess],
        place=position - (batch["stream"][is_guess] - DRAFT) - 1,
        weights=batch["loss_weights"][is_guess],
    )


def tokens_in_front(batch: dict[str, torch.Tensor], is_guess: torch.Tensor) -> list[int]:
    """Return the token that stands where each blank does, in the text that it guesses ahead of: its output is next."""
    line = torch.arange(len(is_guess), device=is_guess.device)[:, None].expand_as(is_guess)
    columns = torch.stack([line, batch["document"], batch["position_ids"]], -1)  # [B, L, 3]
    is_text = (batch["stream"] == CLEAN) | (batch["stream"] == CAUSAL)
    places = map(tuple, columns[is_text].tolist())
    text = dict(zip(places, batch["input_ids"][is_text].tolist(), strict=True))
    return [text[place] for place in map(tuple, columns[is_guess].tolist())]
