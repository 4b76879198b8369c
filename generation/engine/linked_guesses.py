"""Draw the rows of a forward, guesses one behind the other, each with the token in front of it (draft_transition.py).

    wanted rows    t1  t2  |  # #  |  # #        after x, after d1; blanks behind x and behind d1
    levels         0: both first blanks, behind t1 and t2;   1: both second ones, behind the guesses of level 0

Of each blank the likeliest tokens are looked at, which hold nearly all that the transition could choose.
"""

from collections.abc import Sequence

import torch

from ..visibility import DRAFT
from .live_request import LiveRequest
from .packing import group_rows
from .runner import Runner
from .sampling import AllowedTable, draw
from .tensors import integers

CANDIDATES = 64  # of a blank's 49,216 tokens; the right one is found among them as often as among all (SmolLM2-135M)

Link = tuple[int, int]  # the row of a guess, and that of the token in front of it


def draw_in_turn(
    runner: Runner, logits: torch.Tensor, requests: Sequence[LiveRequest], table: AllowedTable
) -> torch.Tensor:
    """Draw the wanted rows of requests, as `sampling.draw` does; guesses by the model's transition, where it has one.

    Args:
        logits: [W, V], any float dtype.

    Returns:
        float32 [3 or more, W]: token ids, scores, confidences; see `sampling.draw`.
    """
    levels = links_of(requests) if runner.transition is not None else []
    if not levels:
        return draw(logits, group_rows(requests), table)
    logits = logits.float()  # `draw` changes these rows: what is not allowed is then at the lowest number
    drawn = draw(logits, group_rows(requests), table)
    link_guesses(drawn[0], logits, levels, runner)
    return drawn


def links_of(requests: Sequence[LiveRequest]) -> list[list[Link]]:
    """Return the guesses of a forward by their place behind their anchor; rows are counted among all wanted ones."""
    levels: list[list[Link]] = []
    start = 0
    for query in (request.query for request in requests):
        first = len(query.wanted) - query.drafts
        behind = {query.positions[row]: start + place for place, row in enumerate(query.wanted[:first])}
        for place, row in enumerate(query.wanted[first:], start + first):
            anchor = query.streams[row] - DRAFT
            level = query.positions[row] - anchor - 1
            levels += [[]] if level == len(levels) else []
            levels[level].append((place, place - 1 if level else behind[anchor]))  # blanks of an anchor are neighbours
        start += len(query.wanted)
    return levels


def link_guesses(drawn: torch.Tensor, logits: torch.Tensor, levels: Sequence[Sequence[Link]], runner: Runner) -> None:
    """Draw the guesses anew, in place, level by level.

    Args:
        drawn: token ids, float32 [W].
        logits: float32 [W, V].
        levels: as of `links_of`, with a guess at least.
        runner: of a model with a transition.
    """
    assert runner.transition is not None
    table = runner.transition.table(runner.embedding, runner.head, like=logits)
    rows = integers([row for level in levels for row, _ in level], logits.device)
    scores, tokens = logits[rows].topk(min(CANDIDATES, logits.shape[-1]))  # [G, C]
    heard = table.heard[tokens]  # [G, C, R]
    start = 0
    for level in levels:
        guessed, before = (integers(column, logits.device) for column in zip(*level, strict=True))
        group = slice(start, start := start + len(level))
        said = table.said[drawn[before].long()]  # [L, R]
        moved = torch.baddbmm(scores[group, :, None], heard[group], said[:, :, None])  # [L, C, 1]
        drawn[guessed] = tokens[group].gather(1, moved[:, :, 0].argmax(1, keepdim=True))[:, 0].float()
