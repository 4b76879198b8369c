"""Best-fit decreasing: nothing lost, nothing overfull, close to the fewest rows possible."""

import random

from planned_diffusion.training.bin_packing import pack


def test_by_hand():
    assert pack([5, 3, 4, 2, 6], 10) == [[2, 4], [0, 1, 3]]  # 6+4, 5+3+2
    assert pack([12, 3], 10) == [[0], [1]]  # too long: a row of its own
    assert pack([], 10) == []


def test_random_lengths():
    rng = random.Random(0)
    for _ in range(50):
        lengths = [rng.randint(1, 120) for _ in range(rng.randint(1, 60))]
        rows = pack(lengths, 100)
        assert sorted(index for row in rows for index in row) == list(range(len(lengths)))
        sums = [sum(lengths[index] for index in row) for row in rows]
        assert all(total <= 100 or len(row) == 1 for total, row in zip(sums, rows, strict=True))
        fewest = -(-sum(min(length, 100) for length in lengths) // 100)
        assert len(rows) <= 11 / 9 * fewest + 1
