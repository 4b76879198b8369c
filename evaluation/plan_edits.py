"""Give a model its own plan back, changed: how much do topics, and rounds, matter to what it then writes?

A plan is drawn once with the fields of the system, changed, and given to `generate` like a plan of a caller. The model
was not trained on such plans: this says what it makes of a plan without topics or rounds, not how well a model would
do that never had them.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from ..generation.events import Event, PlanDone
from ..generation.plan import Round, Span, render_promise
from ..generation.tokens import ControlTokens
from ..inference.answer import Checkpoint
from .text_prompts import TextPrompt

Edit = Callable[[Sequence[Round], ControlTokens], Sequence[Round]]


def as_it_is(rounds: Sequence[Round], control: ControlTokens) -> Sequence[Round]:
    """Return the rounds."""
    return rounds


def without_topics(rounds: Sequence[Round], control: ControlTokens) -> Sequence[Round]:
    """Return the rounds with promises that hold a number alone."""
    return [_round([replace(span, topic_ids=()) for span in one.spans], one.terminator, control) for one in rounds]


def in_one_round(rounds: Sequence[Round], control: ControlTokens) -> Sequence[Round]:
    """Return all parts as one round, so that no part is written after another, or sees it."""
    return [_round([span for one in rounds for span in one.spans], rounds[-1].terminator, control)]


PLAN_EDITS: Mapping[str, Edit] = {
    "as it is": as_it_is,
    "without topics": without_topics,
    "in one round": in_one_round,
}


def edited_plans(
    checkpoint: Checkpoint, fields: dict[str, Any], edit: Edit, prompts: Sequence[TextPrompt]
) -> dict[int, list[Round]]:
    """Return the edited plan of every prompt by its line, as `generate` takes it; none for prompts without a plan.

    A prompt that cannot be answered has none either: whoever answers it says why.
    """
    requests = {}
    for asked in prompts:
        try:
            requests[asked.line] = checkpoint.request(asked.prompt, fields)
        except ValueError:
            continue
    rounds: dict[int, list[Round]] = {}

    def read(index: int, event: Event) -> None:
        if isinstance(event, PlanDone):
            rounds.setdefault(index, []).append(event.promises)

    checkpoint.model.run_requests(list(requests.values()), [read], compile_config=checkpoint.compile_config)
    control = ControlTokens.from_config(checkpoint.model.config)
    return {
        line: list(edit(_closed(rounds[index], control), control))
        for index, line in enumerate(requests)
        if index in rounds
    }


def _round(spans: Sequence[Span], terminator: int | None, control: ControlTokens) -> Round:
    ids = (token for span in spans for token in render_promise(span.topic_ids, span.number, control))
    return Round(tuple(spans), tuple(ids), terminator)


def _closed(rounds: Sequence[Round], control: ControlTokens) -> list[Round]:
    """Return the rounds of an answer; the last one ends it, also where the room was used up before its terminator."""
    *before, last = rounds
    return [*before, replace(last, terminator=control.eos[0])]
