"""The sequences of a batch: prompts and answers padded on the right, and the output that describes them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from transformers import PreTrainedTokenizerBase
from transformers.utils.generic import ModelOutput

from .events import Ended, FinishedSpan
from .trace import Trace


@dataclass
class PlannedDiffusionOutput(ModelOutput):
    """The result of `generate` with `return_dict_in_generate=True`.

    Attributes:
        sequences: int64 [B, L]: prompt + answer + EOS, padded on the right; with `keep_plan` the answer as written.
        plans: per request, per round, per span a `FinishedSpan`; `sequences[i, start:stop]` is the span's text.
        trace: per request a `Trace`.
        ended: per request "eos", "length" or "stop".
    """

    sequences: torch.Tensor | None = None
    plans: list[list[list[FinishedSpan]]] | None = None
    trace: list[Trace] | None = None
    ended: list[str] | None = None


def padded_sequences(input_ids: torch.Tensor, answers: Sequence[Sequence[int]], pad: int) -> torch.Tensor:
    """Put answers behind the prompts, int64 [A, L] on the prompts' device.

    Args:
        input_ids: int64 [B, N]; A is a multiple of B, as each prompt may have several answers.
        answers: token ids, prompt after prompt.
        pad: fills the rows of shorter answers.
    """
    start = input_ids.shape[1]
    sequences = torch.full((len(answers), start + max(map(len, answers))), pad, dtype=torch.long)
    sequences[:, :start] = input_ids.cpu().repeat_interleave(len(answers) // len(input_ids), dim=0)
    for row, answer in zip(sequences, answers, strict=True):
        row[start : start + len(answer)] = torch.tensor(answer, dtype=torch.long)
    return sequences.to(input_ids.device)


def described(
    sequences: torch.Tensor,
    outcomes: Sequence[tuple[Ended, Trace]],
    start: int,
    keep_plan: bool,
    tokenizer: PreTrainedTokenizerBase | None,
) -> PlannedDiffusionOutput:
    """Return the output of a batch whose answers begin at position `start` of their sequences."""

    def placed(span: FinishedSpan) -> FinishedSpan:
        topic = None if tokenizer is None else read_topic(tokenizer, span)
        return replace(span, start=span.start + start, stop=span.stop + start, topic=topic)

    plans = [ended.written_plans if keep_plan else ended.plans for ended, _ in outcomes]
    return PlannedDiffusionOutput(
        sequences=sequences,
        plans=[[[placed(span) for span in spans] for spans in rounds] for rounds in plans],
        trace=[trace for _, trace in outcomes],
        ended=[ended.reason for ended, _ in outcomes],
    )


def read_topic(tokenizer: PreTrainedTokenizerBase, span: FinishedSpan) -> str:
    """Return the topic of a span as text."""
    return str(tokenizer.decode(list(span.topic_ids))).strip()
