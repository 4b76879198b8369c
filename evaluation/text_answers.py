"""Answers to the prompts of a text task, with everything that is counted about each of them.

Plan tokens are those of the promises of all rounds and the terminator of each. A span has used as many tokens of its
promised room as its text has, pads aside; it has ended by itself if it left some of it unused, which is what `[PAD]`
says. Seconds are the wall clock of a batch divided by its answers, prompts included.
"""

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ..generation.events import Ended, Event, PlanDone
from ..generation.query import Request
from ..generation.trace import Trace
from ..inference.answer import Answer, Checkpoint
from .likelihood import Likelihood
from .plan_edits import PLAN_EDITS, edited_plans
from .text_prompts import TextPrompt

COUNTS = ("planning", "forwards", "critical_path", "tokens", "tokens_run")
DRAFTS = ("drafts_checked", "drafts_accepted")


@dataclass(frozen=True)
class TextSystem:
    """A way to answer: a checkpoint with fields of `generate`, under the name that tables show.

    plan_edit: how the model's own plan is changed and given back (plan_edits.py); None: it plans as it answers.
    """

    name: str
    checkpoint: Checkpoint
    fields: dict[str, Any]
    plan_edit: str | None = None


@dataclass(frozen=True)
class WrittenSpan:
    """A part of an answer: its topic, the tokens that were promised and used, and its text."""

    topic: str
    length: int
    used: int
    text: str


@dataclass(frozen=True)
class TextAnswer:
    """An answer of one system, in batches of `batch_size`; counts as in `Trace`, `likelihood` under the base.

    batch: line of the first prompt that was answered together with it.
    drafts_checked, drafts_accepted: guesses by offset, as in `Trace`; empty where none were made.
    error: why the prompt could not be answered; the text is then empty, and every count is 0.
    """

    system: str
    batch_size: int
    batch: int
    asked: TextPrompt
    text: str
    plans: tuple[tuple[WrittenSpan, ...], ...]
    ended: str
    plan_tokens: int
    planning: int
    forwards: int
    critical_path: int
    tokens: int
    tokens_run: int
    seconds: float
    likelihood: Likelihood | None = None
    error: str | None = None
    drafts_checked: tuple[int, ...] = ()
    drafts_accepted: tuple[int, ...] = ()

    @property
    def spans(self) -> list[WrittenSpan]:
        """Return the spans of all rounds."""
        return [span for spans in self.plans for span in spans]

    @property
    def is_planned(self) -> bool:
        """Whether two or more parts were written in parallel."""
        return any(len(spans) > 1 for spans in self.plans)

    @property
    def parts(self) -> list[str]:
        """Return the texts of the spans, or the whole answer where it has none."""
        return [span.text for span in self.spans] or [self.text]

    def as_json(self) -> dict[str, Any]:
        """Return the answer as plain JSON."""
        return asdict(self)

    @classmethod
    def from_json(cls, row: dict[str, Any]) -> "TextAnswer":
        """Return the answer that `as_json` wrote."""
        found = row["likelihood"]
        return cls(
            **{
                **row,
                "asked": TextPrompt(**row["asked"]),
                "plans": tuple(tuple(WrittenSpan(**span) for span in spans) for spans in row["plans"]),
                "likelihood": None if found is None else Likelihood(**found),
                **{name: tuple(row.get(name, ())) for name in DRAFTS},  # files of earlier versions have none
            }
        )


class PlanTokens:
    """Counts the plan tokens of each request of a batch; pass `add` to `run_requests` as a listener."""

    def __init__(self) -> None:
        self.counts: Counter[int] = Counter()

    def add(self, index: int, event: Event) -> None:
        """Count the tokens of a finished plan."""
        if isinstance(event, PlanDone):
            self.counts[index] += len(event.promises.plan_ids) + (event.promises.terminator is not None)


def answer_batch(system: TextSystem, prompts: Sequence[TextPrompt], batch_size: int) -> list[TextAnswer]:
    """Answer prompts together; one that this system cannot answer has an `error`.

    Where the system's plan is edited, the plan is drawn before the clock starts: no figure counts that.
    """
    edit, checkpoint = system.plan_edit, system.checkpoint
    plans = {} if edit is None else edited_plans(checkpoint, system.fields, PLAN_EDITS[edit], prompts)
    started = time.perf_counter()
    requests: dict[int, Request] = {}  # by the prompt's line
    errors: dict[int, str] = {}
    for asked in prompts:
        try:
            requests[asked.line] = checkpoint.request(asked.prompt, system.fields, plans.get(asked.line))
        except ValueError as error:
            errors[asked.line] = str(error)
    plan_tokens = PlanTokens()
    running = list(requests.values())
    outcomes = checkpoint.model.run_requests(running, [plan_tokens.add], compile_config=checkpoint.compile_config)
    seconds = (time.perf_counter() - started) / len(prompts)
    ends = {line: (index, *end) for index, (line, end) in enumerate(zip(requests, outcomes, strict=True))}
    answers = []
    for asked in prompts:
        if asked.line in errors:
            written = {**_nothing(), "error": errors[asked.line]}
        else:
            index, ended, trace = ends[asked.line]
            answer = Answer.of(checkpoint, asked.prompt, requests[asked.line], ended, trace)
            written = _described(answer, ended, trace, plan_tokens.counts[index])
        answers.append(TextAnswer(system.name, batch_size, prompts[0].line, asked, seconds=seconds, **written))
    return answers


def request_for(system: TextSystem, asked: TextPrompt) -> Request:
    """Return the engine's request for a prompt.

    Raises:
        ValueError: the system cannot answer it; the message has the number of its line.
    """
    try:
        return system.checkpoint.request(asked.prompt, system.fields)
    except ValueError as error:
        raise ValueError(f"The prompt of line {asked.line} cannot be answered by {system.name}: {error}") from error


def _described(answer: Answer, ended: Ended, trace: Trace, plan_tokens: int) -> dict[str, Any]:
    """Return the fields of a `TextAnswer` that come from the engine."""
    plans = tuple(
        tuple(
            WrittenSpan(part["topic"], part["length"], span.stop - span.start, part["text"])
            for part, span in zip(parts, spans, strict=True)
        )
        for parts, spans in zip(answer.plans, ended.plans, strict=True)
    )
    counts = {name: getattr(trace, name) for name in (*COUNTS, *DRAFTS)}
    return {"text": answer.text, "plans": plans, "ended": answer.ended, "plan_tokens": plan_tokens, **counts}


def _nothing() -> dict[str, Any]:
    """Return the same fields for a prompt that was not answered."""
    return {"text": "", "plans": (), "ended": "error", "plan_tokens": 0, **dict.fromkeys(COUNTS, 0)}
