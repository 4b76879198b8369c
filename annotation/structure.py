"""The `structure` annotator: rounds of topics and texts from the visible structure of an answer; offline, no chance.

Independent passages become the spans of one round. A preamble that announces them ("Here are three tips:") is a round
of its own before it, a conclusion that refers to them is one behind it; others share their round. Each step of a
procedure becomes a round. Any other answer stays plain.
"""

from dataclasses import dataclass

from ..records.tagged import Rounds
from .grouping import PROMISE_COST, for_parallel, for_steps
from .independence import PARALLEL, PLAIN, judge
from .outline import Outline, announces_passages, outline_of, refers_to_passages
from .topics import topic_of

MOST_SPANS = 16  # of a round, by default
LEAST_SPANS = 4  # the smallest value of most_spans: two passages, and a preamble and closing that share their round
MOST_STEP_ROUNDS = 12  # generation allows 16; a plan of steps leaves it some

SpanTexts = list[str]  # the texts of neighbouring passages that become one span
RoundTexts = list[SpanTexts]  # the spans of one round


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
    return Annotation(verdict.kind, _with_topics(rounds), verdict.reason)


def _parallel(answer: str, outline: Outline, most_spans: int) -> list[RoundTexts]:
    """Group the passages into the spans of one round, beside or between preamble and closing; [] if it does not pay."""
    edges = list(outline.passages)
    before, after = outline.preamble, outline.closing
    if before and before[1] < PROMISE_COST:  # too small for a promise of its own
        edges[0], before = (0, edges[0][1]), None
    if after and after[1] - after[0] < PROMISE_COST:
        edges[-1], after = (edges[-1][0], after[1]), None
    passages = [answer[start:stop] for start, stop in edges]
    groups = for_parallel([len(passage) for passage in passages], most_spans - 2)  # preamble and closing may join
    if len(groups) < 2:
        return []
    rounds = [[[passages[index] for index in group] for group in groups]]
    if before:
        preamble = [answer[: before[1]]]
        rounds = [[preamble], *rounds] if announces_passages(preamble[0]) else [[preamble, *rounds[0]]]
    if after:
        closing = [answer[after[0] :]]
        if refers_to_passages(closing[0]):
            rounds.append([closing])
        else:
            rounds[-1].append(closing)
    return rounds


def _steps(answer: str, outline: Outline) -> list[RoundTexts]:
    """Group the steps into rounds with one span each; [] where there is only one round."""
    edges = [edge for edge in (outline.preamble, *outline.passages, outline.closing) if edge]
    texts = [answer[start:stop] for start, stop in edges]
    groups = for_steps([len(text) for text in texts], MOST_STEP_ROUNDS)
    return [[[texts[index] for index in group]] for group in groups] if len(groups) > 1 else []


def _with_topics(rounds: list[RoundTexts]) -> Rounds:
    """Join the texts of each span and give it a topic that no other span of the answer has."""
    used: set[str] = set()
    return tuple(tuple((_new_topic(texts, used), "".join(texts)) for texts in spans) for spans in rounds)


def _new_topic(texts: SpanTexts, used: set[str]) -> str:
    """Return an unused topic for a span, and add it to those used."""
    topic = topic_of(texts, used)
    used.add(topic.lower())
    return topic
