"""The `structure` annotator: rounds of topics and texts from the visible structure of an answer; offline, no chance.

Independent parts become the spans of one round. A preamble that announces them ("Here are three tips:") is a round of
its own before it, a conclusion that refers to them one behind it; what refers to nothing shares their round. Steps of
a procedure become one round each. Everything else stays plain.
"""

from dataclasses import dataclass

from .grouping import PROMISE_COST, for_parallel, for_steps
from .independence import PARALLEL, PLAIN, STEPS, judge
from .outline import Outline, announces_parts, outline_of, refers_to_parts
from .topics import topic_of

MOST_SPANS = 16
MOST_ROUNDS = 12  # generation allows 16; a plan should leave it some

Rounds = tuple[tuple[tuple[str, str], ...], ...]  # per round, per span: topic and text


@dataclass(frozen=True)
class Annotation:
    """`kind` is PARALLEL, STEPS or PLAIN (no rounds), `reason` why; the texts of the rounds joined are the answer."""

    kind: str
    rounds: Rounds = ()
    reason: str = ""


def annotate(prompt: str, answer: str, most_spans: int = MOST_SPANS) -> Annotation:
    """The plan of an answer; `most_spans` bounds the spans of a round."""
    outline = outline_of(answer)
    verdict = judge(prompt, answer, outline)
    if verdict.kind == PLAIN:
        return Annotation(PLAIN, reason=verdict.reason)
    rounds = _parallel(answer, outline, most_spans) if verdict.kind == PARALLEL else _steps(answer, outline)
    if not rounds:
        return Annotation(PLAIN, reason="too short")
    return Annotation(verdict.kind, _with_topics(rounds), verdict.reason)


def _parallel(answer: str, outline: Outline, most_spans: int) -> list[list[list[str]]]:
    """Per round, per span, the texts of its parts; [] where no two spans would pay."""
    edges = list(outline.parts)
    before, after = outline.preamble, outline.closing
    if before and before[1] < PROMISE_COST:  # too small for a promise of its own
        edges[0], before = (0, edges[0][1]), None
    if after and after[1] - after[0] < PROMISE_COST:
        edges[-1], after = (edges[-1][0], after[1]), None
    parts = [answer[start:stop] for start, stop in edges]
    groups = for_parallel([len(part) for part in parts], most_spans - 2)  # preamble and closing may join them
    if len(groups) < 2:
        return []
    rounds = [[[parts[index] for index in group] for group in groups]]
    if before:
        preamble = [answer[: before[1]]]
        rounds = [[preamble], *rounds] if announces_parts(preamble[0]) else [[preamble, *rounds[0]]]
    if after:
        closing = [answer[after[0] :]]
        if refers_to_parts(closing[0]):
            rounds.append([closing])
        else:
            rounds[-1].append(closing)
    return rounds


def _steps(answer: str, outline: Outline) -> list[list[list[str]]]:
    """A round with one span per step; [] where there is only one round."""
    edges = [edge for edge in (outline.preamble, *outline.parts, outline.closing) if edge]
    texts = [answer[start:stop] for start, stop in edges]
    groups = for_steps([len(text) for text in texts], MOST_ROUNDS)
    return [[[texts[index] for index in group]] for group in groups] if len(groups) > 1 else []


def _with_topics(rounds: list[list[list[str]]]) -> Rounds:
    used, named = set(), []
    for spans in rounds:
        named.append([])
        for parts in spans:
            topic = topic_of(parts, used)
            used.add(topic.lower())
            named[-1].append((topic, "".join(parts)))
    return tuple(map(tuple, named))


__all__ = ["PARALLEL", "PLAIN", "STEPS", "Annotation", "Rounds", "annotate"]
