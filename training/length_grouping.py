"""Order the examples of a training epoch: batches of similar length, drawn from (seed, epoch) alone."""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from torch.utils.data import Sampler

BATCHES_PER_WINDOW = 32  # examples are sorted by length inside windows of so many batches


class LengthGroupedOrder(Sampler[int]):
    """A permutation per epoch whose consecutive `batch_size` examples have similar lengths.

    Unlike the sampler of transformers it draws from a generator of its own, so that a resumed run visits the examples
    in the order of an uninterrupted one.

    Args:
        lengths: tokens of each example.
        batch_size: examples per batch of one process.
        seed: seed of all permutations.
        current_epoch: returns the epoch; called when an epoch begins.
    """

    def __init__(self, lengths: Sequence[int], batch_size: int, seed: int, current_epoch: Callable[[], int]) -> None:
        self.lengths = np.asarray(lengths)
        self.batch_size = batch_size
        self.seed = seed
        self.current_epoch = current_epoch

    def __len__(self) -> int:
        return len(self.lengths)

    def __iter__(self) -> Iterator[int]:
        rng = np.random.default_rng((self.seed, self.current_epoch()))
        shuffled = rng.permutation(len(self.lengths))
        window = self.batch_size * BATCHES_PER_WINDOW
        windows = (shuffled[start : start + window] for start in range(0, len(shuffled), window))
        by_length = np.concatenate([each[np.argsort(self.lengths[each], kind="stable")] for each in windows])
        full = len(by_length) // self.batch_size
        batches = by_length[: full * self.batch_size].reshape(full, self.batch_size)
        # The incomplete batch stays last, or every batch after it would straddle two lengths.
        return iter(
            np.concatenate([rng.permutation(batches).reshape(-1), by_length[full * self.batch_size :]]).tolist()
        )
