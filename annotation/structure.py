"""The `structure` annotator: rounds of topics and texts from the visible structure of an answer; offline, no chance.

Independent passages become the spans of one round, together with a preamble: a plan that stands before it tells both
what the passages are about. A conclusion that refers to them is a round behind them; others share their round. Each
step of a procedure becomes a round. Any other answer stays plain.
"""

from dataclasses import dataclass
from itertools import chain

from ..records.tagged import Rounds
from .grouping import PROMISE_COST, for_parallel, for_steps
from .independence import PARALLEL, PLAIN, judge
from .outline import Outline, outline_of, refers_to_passages
from .topics import CLOSING, INTRODUCTION, Part, topics_of

MOST_SPANS = 16  # of a round, by default
LEAST_SPANS = 4  # the smallest value of most_spans: two passages, and a preamble and closing that share their round
MOST_STEP_ROUNDS = 12  # generation allows 16; a plan of steps leaves it some


@dataclass(frozen=True)
class Annotation:
    """The plan of an answer: `kind` is PARALLEL, STEPS or PLAIN (no rounds), `reason` says why.

    The texts of the rounds, joined, are the answer.
    """

    kind: str
    rounds: Rounds = ()
    reason: str = ""


def annotate_by_structure(prompt: str, answer: str, most_spans: int = MOST_SPANS) -> Annotation:
    """Return the plan of an answer with at most `most_spans` spans per round."""
    outline = outline_of(answer)
    verdict = judge(prompt, answer, outline)
    if verdict.kind == PLAIN:
        return Annotation(PLAIN, reason=verdict.reason)
    rounds = _parallel(answer, outline, most_spans) if verdict.kind == PARALLEL else _steps(answer, outline)
    if not rounds:
        return Annotation(PLAIN, reason="too short")
    return Annotation(verdict.kind, _with_topics(rounds, prompt), verdict.reason)


def _parallel(answer: str, outline: Outline, most_spans: int) -> list[list[Part]]:
    """Group preamble, passages and closing into the spans of one round; [] if that does not pay.

    A closing that refers to the passages is a round behind them.
    """
    parts = [Part(answer[start:stop], (answer[start:stop],)) for start, stop in outline.passages]
    if outline.preamble:
        parts.insert(0, Part(answer[: outline.preamble[1]], topic=INTRODUCTION))
    closing = Part(answer[outline.closing[0] :], topic=CLOSING) if outline.closing else None
    is_later = closing is not None and refers_to_passages(closing.text) and len(closing.text) >= PROMISE_COST
    if closing and not is_later:
        parts.append(closing)
    groups = for_parallel([len(part.text) for part in parts], most_spans)
    spans = [_joined([parts[index] for index in group]) for group in groups]
    if sum(bool(span.passages) for span in spans) < 2:
        return []
    return [spans, [closing]] if closing and is_later else [spans]


def _joined(parts: list[Part]) -> Part:
    """Join neighbouring parts into one."""
    return Part("".join(part.text for part in parts), tuple(chain(*(part.passages for part in parts))), parts[0].topic)


def _steps(answer: str, outline: Outline) -> list[list[Part]]:
    """Group the steps into rounds with one span each; [] where there is only one round."""
    edges = [edge for edge in (outline.preamble, *outline.passages, outline.closing) if edge]
    parts = [Part(answer[start:stop], (answer[start:stop],)) for start, stop in edges]
    groups = for_steps([len(part.text) for part in parts], MOST_STEP_ROUNDS)
    return [[_joined([parts[index] for index in group])] for group in groups] if len(groups) > 1 else []


def _with_topics(rounds: list[list[Part]], prompt: str) -> Rounds:
    """Join the texts of each span and give it a topic that no other span of the answer has."""
    topics = iter(topics_of([part for parts in rounds for part in parts], prompt))
    return tuple(tuple((next(topics), part.text) for part in parts) for parts in rounds)
