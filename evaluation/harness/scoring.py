"""Scores of contexts with continuations: left to right, or planned ones by their plan and the bound of their spans."""

from collections.abc import Sequence
from typing import Any

from ...generation.tokens import ControlTokens
from ...inference.answer import Checkpoint
from ...records.tagged import is_tagged
from ...training.examples import encode_answer
from ..likelihood import scored_texts
from ..planned_bound import planned_bound

# (context and continuation as lm-eval has them, or None; ids of the context; ids of the continuation)
Pairs = Sequence[tuple[Any, list[int], list[int]]]
Score = tuple[float, bool]  # log-likelihood in nats, and whether every token is the likeliest


def score_pairs(checkpoint: Checkpoint, pairs: Pairs, max_length: int, samples: int | None = None) -> list[Score]:
    """Return the scores of pairs that run together.

    Args:
        max_length: tokens that the model can read; longer contexts lose their beginning.
        samples: draws for the bound of a continuation with tags; None scores all from left to right.

    Raises:
        ValueError: tags that do not follow the grammar, or a span without room.
    """
    found: dict[int, Score] = {}
    plain = []
    for place, (texts, context, continuation) in enumerate(pairs):
        if samples is not None and texts is not None and is_tagged(texts[1]):
            found[place] = _planned(checkpoint, context, texts[1].strip(), samples)
        else:
            plain.append((place, (shortened(context, max_length - len(continuation) + 1), continuation)))
    scored = scored_texts(checkpoint.model, [pair for _, pair in plain], len(pairs))
    for (place, _), one in zip(plain, scored, strict=True):
        found[place] = (one.likelihood.total, one.is_greedy)
    return [found[place] for place in range(len(pairs))]


def shortened(context: list[int], length: int) -> list[int]:
    """Return the end of a context, one token at least."""
    return context[-max(1, length) :]


def _planned(checkpoint: Checkpoint, context: list[int], answer: str, samples: int) -> Score:
    control = ControlTokens.from_config(checkpoint.model.config)
    example = encode_answer(context, answer, checkpoint.tokenizer, control)
    return planned_bound(checkpoint, example, samples).total, False
