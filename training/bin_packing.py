"""Choose the rows that share a line of a batch: best-fit decreasing, so that few tokens are padding."""

from collections.abc import Sequence


def pack(lengths: Sequence[int], room: int) -> list[list[int]]:
    """Group the indices of `lengths` into lines whose lengths add up to at most `room`.

    The longest go first, each into the fullest line that still has room for it (best-fit decreasing: at most 22 % more
    lines than the fewest possible, Johnson 1974). A length above `room` gets a line of its own. Inside a line indices
    ascend; the same lengths always give the same lines.
    """
    lines: list[list[int]] = []
    left: list[int] = []  # room in each line
    for index in sorted(range(len(lengths)), key=lambda index: -lengths[index]):
        fitting = [line for line, free in enumerate(left) if free >= lengths[index]]
        if fitting:
            line = min(fitting, key=left.__getitem__)
        else:
            line = len(lines)
            lines.append([])
            left.append(room)
        lines[line].append(index)
        left[line] -= lengths[index]
    return [sorted(line) for line in lines]
