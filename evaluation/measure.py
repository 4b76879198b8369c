"""Measures decoders on held-out questions about countries, all on the same weights in one process.

Definitions. Answers right: every fact of the answer right (facts/metric.py). Facts right: share of single facts.
Forwards and critical path: mean per answer (generation/trace.py). Tokens: text written, without pads, plan and tags.
Seconds: wall clock of the whole set, batches included, divided by the answers.
"""

import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

import torch

from ..facts.generator import FactsQuestion, held_out_questions
from ..facts.metric import facts_right
from ..generation.mixin import PlannedDiffusionOutput
from ..generation.trace import Trace
from ..loading.embedded import EMBEDDED
from ..loading.load import load
from ..loading.precision import FASTEST
from ..modeling_planned_diffusion import PlannedDiffusionForCausalLM
from .bars import Bar, no_bar
from .stamp import SEED
from .variants import Systems

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

HELD_OUT_SEED = SEED
MANY_PARTS = 3


@dataclass(frozen=True)
class Evaluation:
    """An evaluation to run: a checkpoint (None: the included one), a number of questions, and a batch size.

    as_json: print one JSON object instead of a table.
    bar: opens a progress bar.
    """

    model: str | None = None
    count: int = 500
    batch_size: int = 8
    as_json: bool = False
    bar: Bar = field(default=no_bar, compare=False, repr=False)

    def __post_init__(self) -> None:
        if self.count < 1 or self.batch_size < 1:
            raise ValueError(f"count is {self.count} and batch_size {self.batch_size}; both must be at least 1.")

    @property
    def checkpoint(self) -> str:
        """Return the folder or Hub repository of the model."""
        return str(self.model or EMBEDDED)

    @property
    def questions(self) -> list[FactsQuestion]:
        """Return the held-out questions; the same for the same count."""
        return held_out_questions(self.count, HELD_OUT_SEED)

    def load(self) -> "tuple[PlannedDiffusionForCausalLM, PreTrainedTokenizerBase]":
        """Load the model, in evaluation mode, and its tokenizer."""
        model, tokenizer = load(self.checkpoint, FASTEST)
        return cast(PlannedDiffusionForCausalLM, model.eval()), cast("PreTrainedTokenizerBase", tokenizer)


@dataclass(frozen=True)
class Measurement:
    """Means over the answers of one system; `many_parts_*` over the questions with MANY_PARTS parts or more."""

    system: str
    answers: int
    answers_right: float
    facts_right: float
    forwards: float
    many_parts_forwards: float
    critical_path: float
    tokens: float
    tokens_run: float
    seconds: float


@dataclass(frozen=True)
class Answered:
    """A question with a model's answer and its trace."""

    question: FactsQuestion
    text: str
    trace: Trace


def answer_questions(
    model: PlannedDiffusionForCausalLM,
    tokenizer: "PreTrainedTokenizerBase",
    questions: Sequence[FactsQuestion],
    batch_size: int,
    **fields: Any,
) -> Iterator[Answered]:
    """Generate an answer for each question, `batch_size` at a time; `fields` go to `generate`."""
    for start in range(0, len(questions), batch_size):
        batch = questions[start : start + batch_size]
        inputs = tokenizer([question.prompt for question in batch], padding=True, return_tensors="pt").to(model.device)
        prompts = cast(torch.LongTensor, inputs["input_ids"])
        out = model.generate(
            input_ids=prompts, attention_mask=inputs["attention_mask"], return_dict_in_generate=True, **fields
        )
        assert isinstance(out, PlannedDiffusionOutput) and out.sequences is not None and out.trace is not None
        texts = tokenizer.batch_decode(out.sequences[:, prompts.shape[1] :], skip_special_tokens=True)
        for question, text, trace in zip(batch, texts, out.trace, strict=True):
            yield Answered(question, text, trace)


def summarise_answers(system: str, answered: Sequence[Answered], seconds: float) -> Measurement:
    """Return the means over the answers of one system; `seconds` is the time for all of them."""
    scores = [facts_right(one.question, one.text) for one in answered]
    many = [one for one in answered if len(one.question.statements) >= MANY_PARTS]
    mean = statistics.fmean
    return Measurement(
        system=system,
        answers=len(answered),
        answers_right=mean(score.complete for score in scores),
        facts_right=sum(score.right for score in scores) / sum(score.total for score in scores),
        forwards=mean(one.trace.forwards for one in answered),
        many_parts_forwards=mean(one.trace.forwards for one in many) if many else float("nan"),
        critical_path=mean(one.trace.critical_path for one in answered),
        tokens=mean(one.trace.tokens for one in answered),
        tokens_run=mean(one.trace.tokens_run for one in answered),
        seconds=seconds / len(answered),
    )


def compare_systems(
    model: PlannedDiffusionForCausalLM,
    tokenizer: "PreTrainedTokenizerBase",
    questions: Sequence[FactsQuestion],
    batch_size: int,
    systems: Systems,
    bar: Bar = no_bar,
) -> list[Measurement]:
    """Measure every system on the questions, with a progress bar for each."""
    measurements = []
    for name, fields in systems.items():
        with bar(name) as show:
            started, answered = time.perf_counter(), []
            for one in answer_questions(model, tokenizer, questions, batch_size, **fields):
                answered.append(one)
                show(len(answered), len(questions))
            measurements.append(summarise_answers(name, answered, time.perf_counter() - started))
    return measurements
