"""Which examples share a training row: best-fit decreasing, so that few tokens are padding."""

from collections.abc import Sequence


def pack(lengths: Sequence[int], room: int) -> list[list[int]]:
    """Groups the indices of `lengths` into rows whose lengths add up to at most `room`.

    The longest go first, each into the fullest row that still has room for it (best-fit decreasing: at most 22 % more
    rows than the fewest possible, Johnson 1974). A length above `room` gets a row of its own. Inside a row indices
    ascend; the same lengths always give the same rows.
    """
    rows: list[list[int]] = []
    left: list[int] = []  # room in each row
    for index in sorted(range(len(lengths)), key=lambda index: -lengths[index]):
        fitting = [row for row, free in enumerate(left) if free >= lengths[index]]
        if fitting:
            row = min(fitting, key=left.__getitem__)
        else:
            row = len(rows)
            rows.append([])
            left.append(room)
        rows[row].append(index)
        left[row] -= lengths[index]
    return [sorted(row) for row in rows]
