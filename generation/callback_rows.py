"""How criteria and processors are called: with a row for every answer of the batch, as transformers does.

They may have a state, and often one with an entry for each row. So they are called

- in a batch that is written left to right once per token, with all rows (`LockstepRows`);
- in any other, whose answers differ in length, for one answer at a time, each with copies of its own: a copy is shown
  the answer in every row of the batch, and what it says of that answer's own row counts (`RowAlone`).

Prompts are padded as the caller padded them.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from transformers.generation.logits_process import LogitsProcessorList

Callbacks = Sequence[Callable[..., Any]]


def processed(processors: Callbacks, ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
    """Return scores [B, V] as processors leave them, behind ids [B, N].

    Raises:
        ValueError: a processor returned something else than scores.
    """
    for processor in processors:
        asked: Any = LogitsProcessorList([processor])  # typed for a subclass of Tensor that nobody makes
        result = asked(ids, scores)
        if not isinstance(result, torch.Tensor) or result.shape != scores.shape:
            raise ValueError(
                f"The logits processor {name_of(processor)} returned {_shown(result)}; let it return scores of shape "
                f"{list(scores.shape)}."
            )
        if result.isnan().any() and not scores.isnan().any():
            raise ValueError(
                f"The logits processor {name_of(processor)} returned scores that are no numbers (NaN); let it return "
                "-inf for tokens that it excludes."
            )
        scores = result.to(scores.dtype)
    return scores


def verdicts(criteria: Callbacks, ids: torch.Tensor) -> torch.Tensor:
    """Return for each row of ids [B, N] whether a criterion ends it, bool [B].

    Raises:
        ValueError: a criterion returned something else than a verdict.
    """
    done = torch.zeros(len(ids), dtype=torch.bool, device=ids.device)
    for criterion in criteria:
        given = criterion(ids, None)
        try:
            verdict = torch.as_tensor(given, device=ids.device)
        except (TypeError, ValueError, RuntimeError):  # depending on what it is
            verdict = ids[:0]
        if verdict.numel() not in (1, len(ids)):
            raise ValueError(
                f"The stopping criterion {name_of(criterion)} returned {_shown(given)}; let it return True or False, "
                f"or a tensor of {len(ids)} of them, one for each row."
            )
        done |= verdict.reshape(-1).bool()
    return done


class LockstepRows:
    """The rows of a batch that is written left to right, as transformers keeps them.

    Args:
        ids: the prompts as the caller padded them, int64 [B, N].
        pad: what a row goes on with when it has ended.
        processors, criteria: called once per token with all rows; a row that has ended has scores of 0.
    """

    def __init__(self, ids: torch.Tensor, pad: int, processors: Callbacks, criteria: Callbacks) -> None:
        self.ids, self.pad = ids, pad
        self.processors, self.criteria = processors, criteria
        self.stopped = [False] * len(ids)

    def stopper(self, row: int) -> Callable[[list[int]], bool]:
        """Return the function that says whether a criterion has ended a row."""
        return lambda so_far: self.stopped[row]

    def process(self, rows: list[int], scores: torch.Tensor) -> torch.Tensor:
        """Change the scores of the rows that still write, float [R, V]."""
        if not self.processors:
            return scores
        every = scores.new_zeros(len(self.ids), scores.shape[1])
        every[rows] = scores
        return processed(self.processors, self.ids, every)[rows]

    def write(self, rows: list[int], tokens: list[int]) -> None:
        """Append a token to each of these rows, and ask the criteria."""
        column = self.ids.new_full((len(self.ids), 1), self.pad)
        column[rows, 0] = self.ids.new_tensor(tokens)
        self.ids = torch.cat([self.ids, column], dim=1)
        if self.criteria:
            self.stopped = verdicts(self.criteria, self.ids).tolist()


class RowAlone:
    """One row of a batch whose rows are written each at its own pace.

    Args:
        row: its place.
        ids: the prompts as the caller padded them, int64 [B, N].
        prompt_length: without padding; what follows in the ids of a request is its answer.
        processors, criteria: nobody else calls them.
    """

    def __init__(
        self, row: int, ids: torch.Tensor, prompt_length: int, processors: Callbacks, criteria: Callbacks
    ) -> None:
        self.row, self.ids, self.prompt_length = row, ids, prompt_length
        self.processors, self.criteria = processors, criteria

    def process(self, so_far: list[int], scores: torch.Tensor) -> torch.Tensor:
        """Return the scores [1, V] behind prompt and answer so far as the processors leave them."""
        every = scores.repeat(len(self.ids), 1)
        return self._alone(lambda ids: processed(self.processors, ids, every), so_far)

    def should_stop(self, so_far: list[int]) -> bool:
        """Return whether a criterion ends the answer here."""
        return bool(self._alone(lambda ids: verdicts(self.criteria, ids), so_far))

    def _alone(self, ask: Callable[[torch.Tensor], torch.Tensor], so_far: list[int]) -> torch.Tensor:
        """Ask with the answer in every row, and return what is said of its own, [1, ...]."""
        answer = self.ids.new_tensor(so_far[self.prompt_length :])
        try:
            said = ask(torch.cat([self.ids[self.row], answer]).repeat(len(self.ids), 1))
        except Exception as error:
            if len(self.ids) > 1:
                error.add_note(
                    f"A copy was asked about answer {self.row} of {len(self.ids)}, which it saw in every row; pass "
                    "prompts one at a time if it cannot do without the others, or choose decoding='autoregressive'."
                )
            raise
        return said[self.row : self.row + 1]


def name_of(callback: object) -> str:
    """Return the name of a function, or of the class of an object."""
    return getattr(callback, "__name__", type(callback).__name__)


def _shown(value: object) -> str:
    return f"a tensor of shape {list(value.shape)}" if isinstance(value, torch.Tensor) else repr(value)
