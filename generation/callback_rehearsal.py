"""A rehearsal of logits processors: what they do in copies is seen before anything has run."""

import random
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from transformers.generation.logits_process import LogitsProcessorList

from .callback_rows import Callbacks, name_of

REHEARSED = 8  # tokens after which grammars that differ have mostly parted


def rehearse(copies: Callbacks, ids: torch.Tensor, vocabulary: int, eos: Sequence[int]) -> None:
    """Ask two copies of a processor as `RowAlone` will ask them: with one and the same answer in every row.

    The answer goes on with tokens that one row allows and another does not, where there are such. So a processor that
    has a grammar for each row is found out before anything has run. The second copy has to say what the first said:
    else both use something that was not copied, and answers would mix.

    Args:
        copies: two that nobody else calls.
        ids: the prompts as the caller padded them, int64 [B, N].
        vocabulary: the number of scores of a row; eos: the tokens that end an answer.

    Raises:
        ValueError: it fails, or the copies have something in common that decides what they say.
    """
    first, second = copies
    for so_far, said in list(_rehearsed(first, ids, vocabulary, eos)):
        if not _asked(second, so_far, vocabulary).equal(said):
            raise ValueError(
                f"The logits processor {name_of(first)} remembers something that its copies share, so that the answers "
                "of this batch would change each other; pass prompts one at a time, or choose "
                "decoding='autoregressive'."
            )


def _rehearsed(
    processor: Callable[..., Any], ids: torch.Tensor, vocabulary: int, eos: Sequence[int]
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Yield ids [B, N + answer] and what the processor makes of scores of 0 behind them, [B, V]."""
    so_far, writer = ids[:1].repeat(len(ids), 1), None
    for _ in range(REHEARSED):
        result = _asked(processor, so_far, vocabulary)
        if result.shape != (len(ids), vocabulary):
            return  # the run says what is wrong
        yield so_far, result
        allowed = result > -torch.inf  # [B, V]
        allowed[:, list(eos)] = False
        only_some = allowed & ~allowed.all(0)
        if writer is None and only_some.any():
            writer = int(only_some.any(1).nonzero()[0, 0])
        own = (only_some if only_some[writer or 0].any() else allowed)[writer or 0].nonzero()[:, 0]
        if len(own) == 0:
            return  # the end of a grammar
        so_far = torch.cat([so_far, own[:1].expand(len(ids), 1)], dim=1)


def _asked(processor: Callable[..., Any], so_far: torch.Tensor, vocabulary: int) -> torch.Tensor:
    """Return what a processor makes of scores of 0, without NaN; nothing where that is no tensor.

    Raises:
        ValueError: it fails.
    """
    scores = torch.zeros(len(so_far), vocabulary, device=so_far.device)
    try:
        with same_noise(so_far.device):
            asked: Any = LogitsProcessorList([processor])
            result = asked(so_far.clone(), scores)
    except Exception as error:  # of a caller's object: it may raise anything
        raise ValueError(
            f"The logits processor {name_of(processor)} fails where all rows of a batch hold one answer, as decoders "
            f"that do not write left to right show it ({type(error).__name__}: {error}); pass prompts one at a "
            "time, each with a processor of its own, or choose decoding='autoregressive'."
        ) from error
    if not isinstance(result, torch.Tensor):
        return so_far[:0]
    return result.nan_to_num(nan=0.0, posinf=torch.inf, neginf=-torch.inf)


@contextmanager
def same_noise(device: torch.device) -> Iterator[None]:
    """Leave the generators of random numbers as they were; whoever draws inside gets the same numbers each time."""
    numpy: Any = sys.modules.get("numpy")  # exported code does not import it
    own, of_numpy = random.getstate(), numpy and numpy.random.get_state()
    try:
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            yield
    finally:
        random.setstate(own)
        if numpy:
            numpy.random.set_state(of_numpy)
