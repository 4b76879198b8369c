"""Learn which guess follows which token: the transition of drafts (generation/draft_transition.py), in minutes.

The model stays as it is. Its blanks run once over the records (guesses.py), and two matrices of rank R are fitted to
what they should have guessed, by cross entropy through the frozen head:

    head(state + after(before(embedding of the token in front)))  ->  the right guess

A tenth of the records takes no part, and says how often guesses are right, without the matrices and with them.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from ..checkpoint_planned_diffusion import save_transition
from ..generation.draft_transition import DraftTransition, normalised
from ..generation.tokens import ControlTokens
from ..loading.load import has_merged_form, load
from ..loading.precision import FASTEST
from ..modeling_planned_diffusion import PlannedDiffusionForCausalLM
from .dataset import encode_records, numbered_records, within
from .examples import Example
from .guesses import OBJECTIVE, Guesses, Show, guesses_of

HELD_OUT = 10  # every so many records one is kept to judge by
GUESSES_AT_ONCE = 256
LEARNING_RATE, WARM_UP = 3e-3, 0.3  # the highest, and the share of steps before it
Bar = Callable[[str], AbstractContextManager[Show]]


@dataclass(frozen=True)
class TransitionSettings:
    """How a transition is learnt.

    rank: R.
    guesses: blanks that are learnt from, at most.
    epochs: times that each is seen.
    seed: decides anchors and order.

    Raises:
        ValueError: a number below 1, or a negative seed.
    """

    rank: int = 64
    guesses: int = 120_000
    epochs: int = 3
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("rank", "guesses", "epochs"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; give at least 1.")
        if self.seed < 0:
            raise ValueError(f"seed is {self.seed}; give an integer, at least 0.")


@dataclass(frozen=True)
class Learnt:
    """A transition, the number of guesses it was learnt from, and what it does to those of other records.

    `shares_without` and `shares_with` say how often a blank is right, by its place behind the anchor, where the tokens
    in front of it are.
    """

    transition: DraftTransition
    guesses: int
    shares_without: list[float]
    shares_with: list[float]


class Transition(nn.Module):
    """The two matrices while they are learnt; at first they change nothing."""

    def __init__(self, width: int, rank: int, generator: torch.Generator) -> None:
        super().__init__()
        self.before = nn.Parameter(torch.randn(rank, width, generator=generator) / width**0.5)
        self.after = nn.Parameter(torch.zeros(rank, width))

    def forward(self, states: torch.Tensor, embedded: torch.Tensor) -> torch.Tensor:
        """Return states [G, H] moved by what the tokens in front, embedded [G, H], say of the next."""
        return states + (normalised(embedded) @ self.before.T @ self.after).to(states.dtype)


def tune(folder: Path, train_file: Path, settings: TransitionSettings, bar: Bar) -> Learnt:
    """Learn a transition for the checkpoint or adapter in a folder, on a GPU if there is one, and write it there.

    Raises:
        ValueError: a checkpoint or file that cannot be read, records that do not fit, or too few.
    """
    records = numbered_records(train_file)
    source, device = str(folder), torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model, tokenizer = load(source, FASTEST, merge=has_merged_form(source), device=device)
    model.requires_grad_(False).eval()
    config = model.config
    numbers, given = zip(*records, strict=True)
    control = ControlTokens.from_config(config)
    examples = encode_records(given, tokenizer, control, f"{train_file}, line", numbers)
    most_positions = config.get_text_config().max_position_embeddings
    learnt = learn_transition(model, within(examples, OBJECTIVE, most_positions, "drop"), settings, bar)
    save_transition(learnt.transition, folder)
    return learnt


def learn_transition(
    model: PlannedDiffusionForCausalLM,
    examples: Sequence[Example],
    settings: TransitionSettings,
    bar: Bar,
) -> Learnt:
    """Learn the transition of a model's drafts from records; the model is not changed.

    Args:
        examples: encoded for this model.
        bar: opens a progress bar.

    Raises:
        ValueError: too few records.
    """
    if len(examples) < HELD_OUT:
        raise ValueError(f"There are {len(examples)} records; give at least {HELD_OUT}, one of which is kept to judge.")
    judging = list(examples[::HELD_OUT])
    learning = [example for index, example in enumerate(examples) if index % HELD_OUT]
    with bar("Guessing") as show:
        learnt_from = guesses_of(model, learning, settings.seed, settings.guesses, show)
    judged = guesses_of(model, judging, settings.seed, max(1, settings.guesses // HELD_OUT), lambda done, total: None)
    transition = Transition(model.config.hidden_size, settings.rank, torch.Generator().manual_seed(settings.seed))
    transition.to(model.device)
    without = shares_right(model, transition, judged)
    with bar("Learning") as show:
        fit(model, transition, learnt_from, settings, show)
    kept = DraftTransition(transition.before.detach().cpu(), transition.after.detach().cpu())
    return Learnt(kept, len(learnt_from), without, shares_right(model, transition, judged))


def logits_of(model: PlannedDiffusionForCausalLM, transition: Transition, some: Guesses) -> torch.Tensor:
    """Return the logits of guesses behind the tokens in front of them, float32 [G, V]."""
    embedded = model.get_input_embeddings()(some.before)
    return model.get_output_embeddings()(transition(some.states, embedded)).float()


def fit(
    model: PlannedDiffusionForCausalLM, transition: Transition, known: Guesses, settings: TransitionSettings, show: Show
) -> None:
    """Fit a transition to guesses; each weighs as much as in training."""
    steps = settings.epochs * -(-len(known) // GUESSES_AT_ONCE)
    optimizer = torch.optim.AdamW(transition.parameters(), lr=LEARNING_RATE, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, total_steps=steps + 1, pct_start=WARM_UP)
    for step, some in enumerate(drawn(known, settings), 1):
        losses = nn.functional.cross_entropy(logits_of(model, transition, some), some.right, reduction="none")
        loss = (losses * some.weights).sum() / some.weights.sum()
        optimizer.zero_grad()
        loss.backward(inputs=list(transition.parameters()))  # the model's stay without a gradient
        optimizer.step()
        schedule.step()
        show(step, steps)


def drawn(known: Guesses, settings: TransitionSettings) -> Iterator[Guesses]:
    """Yield all guesses in batches, in a new order every epoch."""
    generator = torch.Generator().manual_seed(settings.seed)
    for _ in range(settings.epochs):
        order = torch.randperm(len(known), generator=generator)
        for rows in order.split(GUESSES_AT_ONCE):
            yield known[rows.to(known.right.device)]


@torch.no_grad()
def shares_right(model: PlannedDiffusionForCausalLM, transition: Transition, known: Guesses) -> list[float]:
    """Return how often a blank's likeliest token is right, by its place behind the anchor."""
    pieces = [known[start : start + GUESSES_AT_ONCE] for start in range(0, len(known), GUESSES_AT_ONCE)]
    right = torch.cat([logits_of(model, transition, some).argmax(-1) == some.right for some in pieces])
    places = range(int(known.place.max()) + 1)
    return [right[known.place == place].float().mean().item() for place in places]
