"""From logits to tokens: forbidden tokens, top-k and top-p filters, Gumbel noise, scores. All rows at once."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch

from .generation_query import Sampling
from .generation_tokens import Allowed
from .generation_engine_tensors import integers

LIKELIEST = (256, 4096)  # tokens among which a nucleus is looked for, before all of them
EXCLUDED = -1e30  # the logit of what a logits processor excludes; what is forbidden lies far below


class AllowedTable:
    """The ids of each distinct `Allowed` on the device, so that forbidding tokens costs no pass over the vocabulary."""

    def __init__(self, device):
        self.device = device
        self._ids: dict[Allowed, torch.Tensor] = {}

    def apply(self, logits: torch.Tensor, allowed: Allowed) -> None:
        """Sets what is not allowed, in logits [W, V], to the lowest finite number."""
        if not allowed.ids and not allowed.only:
            return
        ids = self._ids.get(allowed)
        if ids is None:
            ids = self._ids[allowed] = integers(sorted(allowed.ids), self.device)
        lowest = torch.finfo(logits.dtype).min
        if allowed.only:
            kept = logits.index_select(-1, ids)
            logits.fill_(lowest).index_copy_(-1, ids, kept)
        else:
            logits.index_fill_(-1, ids, lowest)


@dataclass(frozen=True)
class RowGroup:
    """Consecutive wanted rows of one request that are drawn alike.

    rows: where they stand among all wanted rows of the forward.
    score: of `scores.SCORES`.
    noise: the request's generator; None for greedy rows.
    process: the request's logits processor, for a single row written left to right.
    draft: takes the rows as drawn; with `mix`, holds those that they are mixed with.
    """

    rows: range
    sampling: Sampling
    allowed: Allowed
    score: Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]
    noise: torch.Generator | None = None
    process: object = None
    draft: "Draft | None" = None
    mix: float | None = None


class Draft:
    """Rows of a query as they were drawn, for the one that scores them: logits and Gumbel noise (None when greedy)."""

    def __init__(self):
        self._chunks: list[tuple[torch.Tensor, torch.Tensor | None]] = []

    def add(self, logits: torch.Tensor, noise: torch.Tensor | None) -> None:
        """Takes rows [W, V], in order."""
        self._chunks.append((logits, noise))

    def rows(self, start: int, stop: int) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Logits and noise of rows, [stop - start, V]; negative numbers count from the last one."""
        if len(self._chunks) > 1:
            logits, noise = zip(*self._chunks, strict=True)
            self._chunks = [(torch.cat(logits), None if noise[0] is None else torch.cat(noise))]
        logits, noise = self._chunks[0]
        rows = slice(len(logits) + start, len(logits) + stop)
        return logits[rows], None if noise is None else noise[rows]


def filter_logits(logits: torch.Tensor, top_k: int | None, top_p: float | None) -> torch.Tensor:
    """Logits float [W, V] with everything outside the k likeliest, then their p nucleus, at the lowest finite number.

    The nucleus is the smallest set of likeliest tokens whose probabilities reach `top_p` (arXiv 1904.09751). The order
    is that of transformers; Dream's code has the other one.
    """
    lowest = torch.finfo(logits.dtype).min
    if top_k is not None and top_k < logits.shape[-1]:
        smallest_kept = logits.topk(top_k, dim=-1).values[:, -1:]
        logits = logits.masked_fill(logits < smallest_kept, lowest)
    if top_p is not None and top_p < 1:
        logits = logits.masked_fill(logits < smallest_of_nucleus(logits, top_p)[:, None], lowest)
    return logits


def smallest_of_nucleus(logits: torch.Tensor, top_p: float) -> torch.Tensor:
    """The smallest logit of each row's nucleus, [W].

    Nothing as long as the vocabulary is sorted, unless a nucleus is that large: the likeliest few mostly reach `top_p`,
    and rows where they do not are looked at again (16 rows of 152k logits on a CPU: 410 ms sorted, 10 ms so).
    """
    probabilities, smallest = logits.softmax(-1), logits.new_empty(len(logits))
    rows = torch.arange(len(logits), device=logits.device)
    for count in (*LIKELIEST, logits.shape[-1]):
        values, ids = logits[rows].topk(min(count, logits.shape[-1]), dim=-1)  # [rows, count], descending
        likeliest = probabilities[rows[:, None], ids]
        reached = likeliest.cumsum(-1)
        smallest[rows] = values.masked_fill(reached - likeliest >= top_p, torch.inf).amin(-1)
        rows = rows[reached[:, -1] < top_p]
        if not len(rows):
            break
    return smallest


def draw(logits: torch.Tensor, groups: list[RowGroup], table: AllowedTable) -> torch.Tensor:
    """Draws every wanted row.

    Args:
        logits: [W, V], any float dtype, as the head gave them; float32 ones are changed.
        groups: cover the W rows in order.

    Returns:
        float32 [3, W]: token ids, scores, confidences (NaN where the logits were NaN).
    """
    drawn = torch.empty(3, logits.shape[0], dtype=torch.float32, device=logits.device)
    rows_at_once = rows_per_group(logits.device.type, logits.shape[-1])
    for alike in _in_one_go(groups):
        stop = alike[-1].rows.stop
        for start in range(alike[0].rows.start, stop, rows_at_once):
            rows = range(start, min(start + rows_at_once, stop))
            some = logits[rows.start : rows.stop].float()
            if alike[0].process is not None:
                # What a processor excludes stays above what is forbidden, even if it excludes all that is allowed.
                some = alike[0].process(some).clamp(min=EXCLUDED)
            _forbid(some, rows, alike, table)
            drawn[:, rows.start : rows.stop] = _draw_alike(some, alike[0], start - stop)
    return drawn


def rows_per_group(device: str, vocabulary: int) -> int:
    """How many rows are drawn in one pass.

    Few on a CPU: a group stays in its cache, and small pieces of memory are used again (126 rows of 2,048 logits take
    1.9 ms in one go, 0.5 in two). On other devices memory alone is the bound.
    """
    if device == "cpu":
        return max(1, min(64, 2**20 // vocabulary))
    return max(1, 2**26 // vocabulary)


def in_vocabulary(logits: torch.Tensor, size: int) -> torch.Tensor:
    """Logits [W, V'] of a model whose embeddings are padded to another size as [W, size]; what it lacks is excluded."""
    lacking = size - logits.shape[-1]
    if lacking == 0:
        return logits
    if lacking < 0:
        return logits[:, :size]
    return torch.nn.functional.pad(logits, (0, lacking), value=torch.finfo(logits.dtype).min)


def _in_one_go(groups: list[RowGroup]) -> list[list[RowGroup]]:
    """Neighbouring greedy groups that differ at most in what they allow, so that requests share the work.

    Of those that allow the same, too, one remains.
    """
    together: list[list[RowGroup]] = []
    for group in groups:
        last = together[-1][-1] if together else None
        if last is None or _likeness(last) is None or _likeness(last) != _likeness(group):
            together.append([group])
        elif last.allowed == group.allowed:
            together[-1][-1] = replace(last, rows=range(last.rows.start, group.rows.stop))
        else:
            together[-1].append(group)
    return together


def _likeness(group: RowGroup):
    """What must be equal for two groups to be drawn together; None for a group that must stay alone."""
    if group.noise is not None or group.process is not None or group.draft is not None:
        return None
    return group.sampling.top_k, group.sampling.top_p, group.score


def _forbid(logits: torch.Tensor, rows: range, groups: list[RowGroup], table: AllowedTable) -> None:
    """Sets what the groups do not allow, in logits [W, V] of these rows, to the lowest finite number."""
    for group in groups:
        first, stop = max(rows.start, group.rows.start), min(rows.stop, group.rows.stop)
        if first < stop:
            table.apply(logits[first - rows.start : stop - rows.start], group.allowed)


def _draw_alike(logits: torch.Tensor, group: RowGroup, first: int) -> torch.Tensor:
    """float32 [W, V] of rows drawn like this group's, which it may change, to [3, W].

    `first` is the first row, counted from the group's end. What is not allowed is at the lowest finite number.
    """
    sampling, noise = group.sampling, None
    if sampling.temperature > 0:
        temperature = max(sampling.temperature, torch.finfo(logits.dtype).tiny)  # less would be 0 in its precision
        logits = (logits - logits.amax(-1, keepdim=True)) / temperature
        logits.clamp_(min=torch.finfo(logits.dtype).min)  # a small temperature may reach -inf, and zero times it is NaN
    if group.mix is not None:
        drafted, noise = group.draft.rows(first, first + len(logits))
        logits = group.mix * drafted + (1 - group.mix) * logits
    else:
        logits = filter_logits(logits, sampling.top_k, sampling.top_p)
        if group.noise is not None:
            noise = torch.empty_like(logits).exponential_(generator=group.noise).log_()
        if group.draft is not None:
            group.draft.add(logits.clone(), noise)
    likeliest = argmax(logits)[:, None]
    logits -= logits.gather(-1, likeliest)
    probabilities = logits.softmax(-1)
    largest = probabilities.gather(-1, likeliest)[:, 0]
    # The Gumbel-max trick: argmax(logits - log(exponential noise)) is a draw from the softmax.
    tokens = likeliest[:, 0] if noise is None else argmax(logits - noise)
    return torch.stack([tokens.float(), group.score(logits, probabilities, largest), largest])


def argmax(logits: torch.Tensor) -> torch.Tensor:
    """Index of the first largest entry of each row, int64 [W].

    On a CPU by numpy: torch's argmax is an order of magnitude slower there (64 rows of 2,048 logits: 187 us, 14).
    """
    if logits.device.type == "cpu":
        return torch.from_numpy(logits.numpy().argmax(-1))
    return logits.argmax(-1)
