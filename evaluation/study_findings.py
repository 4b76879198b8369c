"""Say whether the answers of a study confirm what a paper found: a change with its interval, and one of three words.

    confirmed   the whole 95 % interval of the change lies on the side that the finding says
    refuted     the whole interval lies on the other side
    not shown   the interval holds both, or no prompt counts: more prompts, or a larger difference, would decide

Changes of a quality are differences (a share, less another), those of a cost are ratios. Prompts are drawn again in
pairs (bootstrap.py).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

import torch

from ..facts.generator import FactsQuestion
from ..facts.metric import facts_right
from .bootstrap import Estimate, Term, compared, estimate
from .parallelism_area import Area
from .studies import Finding, Study
from .text_answers import TextAnswer
from .text_figures import FIGURES, drawn_together

QUALITIES = ("facts right", "answers right")
COSTS = {
    "forwards": "forwards", "critical path": "critical_path", "tokens": "tokens", "tokens / forward":
    "tokens_per_forward", "tokens run": "tokens_run", "plan tokens": "plan_tokens", "rounds": "rounds",
    "room used": "room_used", "seconds": "seconds",
}  # fmt: skip

Terms = Mapping[str, Term | None]


@dataclass(frozen=True)
class StudyRow:
    """The figures of one system, on the prompts of one kind or (None) on all."""

    system: str
    kind: str | None
    answers: int
    figures: dict[str, Estimate | None]


@dataclass(frozen=True)
class Judged:
    """A finding with what was measured: `change` is a difference or a ratio (`how`); `verdict`: top of this file."""

    says: str
    system: str
    than: str
    figure: str
    kind: str | None
    expected: str
    how: str
    change: Estimate | None
    verdict: str


@dataclass(frozen=True)
class StudyResult:
    """A study as it was measured; `by_kind` and `areas` only where the study has them."""

    name: str
    question: str
    stamp: Mapping[str, Any]
    rows: Sequence[StudyRow]
    by_kind: Sequence[StudyRow]
    findings: Sequence[Judged]
    areas: Sequence[Area]


def terms_of(question: FactsQuestion, answer: TextAnswer) -> dict[str, Term | None]:
    """Return what an answer adds to the two sums of every figure."""
    score = facts_right(question, answer.text)
    quality: dict[str, Term | None] = {
        "facts right": (score.right, score.total),
        "answers right": (score.complete, 1),
    }
    room = (sum(span.used for span in answer.spans), sum(span.length for span in answer.spans))
    return quality | {
        shown: (room if answer.spans else None) if name == "room_used" else FIGURES[name](answer)
        for shown, name in COSTS.items()
    }


def rows_of(
    answers: Sequence[TextAnswer], terms: Callable[[TextAnswer], Terms], kinds: Sequence[str | None] = (None,)
) -> list[StudyRow]:
    """Return a row per kind and system, where there are answers; kind None is all of them."""
    rows = []
    for kind in kinds:
        for system, own in by_system(answers, kind).items():
            found = [(one.batch, terms(one)) for one in own]
            figures = {
                name: estimate(drawn_together(name, [(batch, each[name]) for batch, each in found]))
                for name in found[0][1]
            }
            rows.append(StudyRow(system, kind, len(own), figures))
    return rows


def judged(study: Study, answers: Sequence[TextAnswer], terms: Callable[[TextAnswer], Terms]) -> list[Judged]:
    """Return every finding whose two systems have answered."""
    found = []
    for one in study.findings:
        own, other = (by_system(answers, one.kind).get(name, []) for name in (one.system, one.than))
        if by_system(answers).keys() >= {one.system, one.than}:
            found.append(judge(one, own, other, terms))
    return found


def judge(
    finding: Finding,
    own: Sequence[TextAnswer],
    other: Sequence[TextAnswer],
    terms: Callable[[TextAnswer], Terms],
) -> Judged:
    """Return a finding with the change between two systems' answers to the same prompts."""
    is_quality = finding.figure in QUALITIES
    same = {one.asked.line: one for one in other}
    pairs = [(one, same[one.asked.line]) for one in own if one.asked.line in same]
    figure = finding.figure
    mine = drawn_together(figure, [(one.batch, terms(one)[figure]) for one, _ in pairs])
    theirs = drawn_together(figure, [(one.batch, terms(base)[figure]) for one, base in pairs])
    change = compared(zip_longest(mine, theirs), torch.sub if is_quality else torch.div)
    return Judged(
        finding.says,
        finding.system,
        finding.than,
        finding.figure,
        finding.kind,
        "less" if finding.is_less else "more",
        "difference" if is_quality else "ratio",
        change,
        verdict_on_change(change, 0.0 if is_quality else 1.0, finding.is_less),
    )


def verdict_on_change(change: Estimate | None, same: float, is_less: bool) -> str:
    """Return confirmed, refuted or not shown.

    Args:
        same: the change that means no change.
        is_less: the finding says that the change is below that; else above.
    """
    if change is None or change.low <= same <= change.high:
        return "not shown"
    return "confirmed" if (change.high < same) == is_less else "refuted"


def by_system(answers: Sequence[TextAnswer], kind: str | None = None) -> dict[str, list[TextAnswer]]:
    """Return the answers to prompts of a kind, or (None) all, by system in the order of their first answers."""
    found: dict[str, list[TextAnswer]] = {}
    for one in answers:
        if kind is None or one.asked.kind == kind:
            found.setdefault(one.system, []).append(one)
    return found
