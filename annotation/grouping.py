"""Group neighbouring passages into spans of a sensible size."""

from collections.abc import Sequence

PROMISE_COST = 28  # characters: a promise takes about 6 plan tokens, and a token is 4 to 5 characters of text
LEAST_STEP = 160  # characters of a round that holds one step
_LADDER = 1.2  # each tried size is so much larger than the one before


def for_parallel(sizes: Sequence[int], most_groups: int) -> list[range]:
    """Group neighbours for the shortest ideal critical path: a promise per group, and then the longest group.

    Args:
        sizes: characters of each passage.
        most_groups: the largest number of groups.

    Returns:
        Ranges of passage indices that follow each other; one range where splitting does not pay.
    """
    total, room = sum(sizes), max(sizes)
    best, least = [range(len(sizes))], total + PROMISE_COST
    while room < total:
        groups = _fill(sizes, room)
        if len(groups) <= most_groups:
            cost = PROMISE_COST * len(groups) + max(sum(sizes[i] for i in group) for group in groups)
            if cost < least:
                best, least = groups, cost
        room = max(room + 1, int(room * _LADDER))
    return best


def _fill(sizes: Sequence[int], room: int) -> list[range]:
    """Make as few groups as possible with at most `room` characters each; a longer passage is a group of its own."""
    groups, start, used = [], 0, 0
    for index, size in enumerate(sizes):
        if used + size > room and index > start:
            groups.append(range(start, index))
            start, used = index, 0
        used += size
    return [*groups, range(start, len(sizes))]


def for_steps(sizes: Sequence[int], most_groups: int) -> list[range]:
    """Group neighbours into rounds of at least `LEAST_STEP` characters; the passages left over join the last one."""
    least = max(LEAST_STEP, -(-sum(sizes) // most_groups))
    groups, start, used = [], 0, 0
    for index, size in enumerate(sizes):
        used += size
        if used >= least:
            groups.append(range(start, index + 1))
            start, used = index + 1, 0
    if start < len(sizes):
        groups.append(range(groups.pop().start if groups else 0, len(sizes)))
    return groups
