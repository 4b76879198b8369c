"""From logits to tokens: forbidden tokens, filters (filters.py), Gumbel noise, scores. All rows at once."""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch

from ..query import Sampling
from ..tokens import Allowed
from .filters import filter_logits
from .likelihoods import likelihood_row_count, likelihood_rows
from .tensors import integers

# Logit for tokens a LogitsProcessor excludes; tokens the grammar forbids get the dtype's minimum and stay below it.
EXCLUDED = -1e30
MOST_SEED = 2**63 - 1
MOST_SETS = 256  # of allowed tokens that are kept on the device


class AllowedTable:
    """The ids of each distinct `Allowed` on the device: they are copied there once, and no bool mask [V] is made.

    The sets that were used last are kept: forms bring sets of their own.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._ids: OrderedDict[Allowed, torch.Tensor] = OrderedDict()

    def apply(self, logits: torch.Tensor, allowed: Allowed) -> None:
        """Set the logits [W, V] of tokens that are not allowed to the lowest finite number, in place."""
        if not allowed.ids and not allowed.only:
            return
        ids = self._ids.get(allowed)
        if ids is None:
            ids = self._ids[allowed] = integers(sorted(allowed.ids), self.device)
            if len(self._ids) > MOST_SETS:
                self._ids.popitem(last=False)
        else:
            self._ids.move_to_end(allowed)
        lowest = torch.finfo(logits.dtype).min
        if allowed.only:
            kept = logits.index_select(-1, ids)
            logits.fill_(lowest).index_copy_(-1, ids, kept)
        else:
            logits.index_fill_(-1, ids, lowest)


@dataclass(frozen=True)
class RowGroup:
    """Consecutive wanted rows of one request that are drawn alike.

    Attributes:
        rows: their places among all wanted rows of the forward.
        score: a function of `scores.SCORES`.
        noise: the request's generator; None for greedy rows.
        process: the request's logits processor, for a single row written left to right.
        draft: keeps the rows as drawn; with `mix`, holds the rows that they are mixed with.
        mix: the share of the kept rows' logits.
        positions: that the rows predict, where these determine the noise; else empty.
    """

    rows: range
    sampling: Sampling
    allowed: Allowed
    score: Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]
    noise: torch.Generator | None = None
    process: Callable[[torch.Tensor], torch.Tensor] | None = None
    draft: "Draft | None" = None
    mix: float | None = None
    positions: tuple[int, ...] = ()

    def noise_like(self, logits: torch.Tensor, first: int) -> torch.Tensor | None:
        """Return Gumbel noise, negative, for rows of logits [W, V]; None where they are drawn greedily.

        Args:
            first: the first of the rows, counted from the group's end.
        """
        if self.noise is None:
            return None
        noise = torch.empty_like(logits)
        if not self.positions:
            return noise.exponential_(generator=self.noise).log_()
        stop = first + len(logits) or None
        for row, position in zip(noise, self.positions[first:stop], strict=True):
            own = torch.Generator(logits.device).manual_seed(hash((self.sampling.seed, position)) & MOST_SEED)
            row.exponential_(generator=own)
        return noise.log_()

    def greedy(self) -> "RowGroup":
        """Return the group as guesses are drawn: the most likely tokens, and no noise taken for them."""
        sampling = replace(self.sampling, temperature=0.0)
        return replace(self, sampling=sampling, noise=None, process=None, draft=None, mix=None)


class Draft:
    """Rows of a query as they were drawn, for a later query that scores them: logits and noise (None when greedy)."""

    def __init__(self) -> None:
        self._chunks: list[tuple[torch.Tensor, torch.Tensor | None]] = []

    def add(self, logits: torch.Tensor, noise: torch.Tensor | None) -> None:
        """Append rows [W, V]."""
        self._chunks.append((logits, noise))

    def rows(self, start: int, stop: int) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Return logits and noise of rows, [stop - start, V]; negative numbers count from the last one."""
        if len(self._chunks) > 1:
            logits, noise = zip(*self._chunks, strict=True)
            self._chunks = [(torch.cat(logits), None if noise[0] is None else torch.cat(noise))]
        logits, noise = self._chunks[0]
        rows = slice(len(logits) + start, len(logits) + stop)
        return logits[rows], None if noise is None else noise[rows]


def draw(logits: torch.Tensor, groups: list[RowGroup], table: AllowedTable) -> torch.Tensor:
    """Draw a token from every wanted row.

    Args:
        logits: [W, V], any float dtype, as the head gave them; float32 logits are changed in place.
        groups: cover the W rows in order.

    Returns:
        float32 [3, W]: token ids, scores, confidences (NaN where the logits were NaN); where log-probabilities are
        asked for, further rows as `likelihood_rows` gives them, 0 for groups that do not ask.
    """
    more = likelihood_row_count(groups)
    drawn = torch.zeros(3 + more, logits.shape[0], dtype=torch.float32, device=logits.device)
    rows_at_once = rows_per_group(logits.device.type, logits.shape[-1])
    for alike in _drawn_together(groups):
        stop = alike[-1].rows.stop
        for start in range(alike[0].rows.start, stop, rows_at_once):
            rows = range(start, min(start + rows_at_once, stop))
            some = logits[rows.start : rows.stop].float()
            if alike[0].process is not None:
                some = processed_scores(alike[0].process(some))
            _forbid(some, rows, alike, table)
            most = alike[0].sampling.top_logprobs
            logprobs = None if most is None else some.log_softmax(-1)  # before the filters change them
            columns = drawn[:, rows.start : rows.stop]
            columns[:3] = _draw_alike(some, alike[0], start - stop)
            if most is not None and logprobs is not None:
                found = likelihood_rows(logprobs, columns[0], most)
                columns[3 : 3 + len(found)] = found
    return drawn


def processed_scores(scores: torch.Tensor) -> torch.Tensor:
    """Return scores of a logits processor without infinities.

    Tokens that it excludes stay above forbidden ones, even if it excludes every token that is allowed.
    """
    return scores.clamp(min=EXCLUDED, max=-EXCLUDED)


def rows_per_group(device: str, vocabulary: int) -> int:
    """Return how many rows are drawn in one pass.

    Few on a CPU: they stay in its cache, and small pieces of memory are used again (126 rows of 2,048 logits take
    1.9 ms in one pass, 0.5 in two). On other devices memory alone is the bound.
    """
    if device == "cpu":
        return max(1, min(64, 2**20 // vocabulary))
    return max(1, 2**26 // vocabulary)


def in_vocabulary(logits: torch.Tensor, size: int) -> torch.Tensor:
    """Cut or pad the last dimension of logits to `size`, for models with padded embeddings; added ids are excluded."""
    lacking = size - logits.shape[-1]
    if lacking == 0:
        return logits
    if lacking < 0:
        return logits[:, :size]
    return torch.nn.functional.pad(logits, (0, lacking), value=torch.finfo(logits.dtype).min)


def _drawn_together(groups: list[RowGroup]) -> list[list[RowGroup]]:
    """Collect neighbouring groups that differ at most in the tokens they allow, so that requests share the work.

    Groups that also allow the same tokens are merged.
    """
    together: list[list[RowGroup]] = []
    last_key = None
    for group in groups:
        key = _drawing_key(group)
        if key is None or key != last_key:
            together.append([group])
        elif together[-1][-1].allowed == group.allowed:
            last = together[-1][-1]
            together[-1][-1] = replace(last, rows=range(last.rows.start, group.rows.stop))
        else:
            together[-1].append(group)
        last_key = key
    return together


def _drawing_key(group: RowGroup) -> tuple | None:
    """Return what groups must have in common to be drawn together; None for a group that is drawn by itself."""
    if group.noise is not None or group.process is not None or group.draft is not None:
        return None
    return group.sampling.top_k, group.sampling.top_p, group.score, group.sampling.top_logprobs


def _forbid(logits: torch.Tensor, rows: range, groups: list[RowGroup], table: AllowedTable) -> None:
    """Apply each group's allowed tokens to its share of these rows, logits [W, V]."""
    for group in groups:
        first, stop = max(rows.start, group.rows.start), min(rows.stop, group.rows.stop)
        if first < stop:
            table.apply(logits[first - rows.start : stop - rows.start], group.allowed)


def _draw_alike(logits: torch.Tensor, group: RowGroup, first: int) -> torch.Tensor:
    """Draw rows, float32 [W, V], as this group says: [3, W] tokens, scores and confidences. May change the logits.

    Args:
        logits: tokens that are not allowed are at the lowest finite number.
        first: the first of the rows, counted from the group's end; a draft is read from there.
    """
    sampling, noise = group.sampling, None
    if sampling.temperature > 0:
        temperature = max(sampling.temperature, torch.finfo(logits.dtype).tiny)  # less would be 0 in its precision
        logits = (logits - logits.amax(-1, keepdim=True)) / temperature
        logits.clamp_(min=torch.finfo(logits.dtype).min)  # a small temperature may reach -inf, and zero times it is NaN
    if group.mix is not None:
        assert group.draft is not None  # its decoder asked to keep the rows of an earlier query
        drafted, noise = group.draft.rows(first, first + len(logits))
        logits = group.mix * drafted + (1 - group.mix) * logits
    else:
        logits = filter_logits(logits, sampling.top_k, sampling.top_p)
        noise = group.noise_like(logits, first)
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
    """Return the index of the first largest entry of each row, int64 [W].

    On a CPU by numpy: torch's argmax is an order of magnitude slower there (64 rows of 2,048 logits: 187 us for 14).
    """
    if logits.device.type == "cpu":
        return torch.from_numpy(logits.numpy().argmax(-1))
    return logits.argmax(-1)
