"""Say whether planning pays on some prompts, in a plain sentence; every verdict rests on a 95 % interval.

    pays        a planner takes fewer seconds, and the likelihood of its planned answers falls by no more than allowed
    text        a planner takes fewer seconds, but its planned answers are less likely than allowed
    short       hardly any plans: most answers are so short that a plan of two parts would save little
    one piece   hardly any plans, although most answers are long enough
    mixed       hardly any plans: about half of the answers are too short, and the others come in one piece
    slower      there are plans, and every planner takes more seconds
    open        an interval holds both possibilities, or rests on a few batches: more prompts are needed

The figures are those of pays_figures.py.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .bootstrap import Estimate
from .pays_figures import PLAN_OF_TWO, Comparison, Sides

HARDLY_ANY = 0.1  # share of answers with a plan
MOSTLY = 0.5  # share of answers that are short
TOLERANCE = 0.5  # nats per token
FEWEST_TIMES = 6  # batches: of fewer, a bootstrap finds an interval that is far too narrow
# Share of an answer's tokens that may be left one after the other, as `annotate` asks of plans; two equal parts leave
# half of them and the plan.
MOST_LEFT = 0.7
WORTH_TWO_PARTS = round(PLAN_OF_TWO / (MOST_LEFT - 0.5))  # tokens from which on they leave no more


@dataclass(frozen=True)
class Verdict:
    """A verdict by its name (top of this file), and in a sentence; `best` is the system that is meant, if one is."""

    name: str
    sentence: str
    best: str | None = None

    @property
    def pays(self) -> bool:
        """Whether planning pays."""
        return self.name == "pays"


def verdict_on(sides: Sides, fields: Mapping[str, Mapping[str, Any]], tolerance: float = TOLERANCE) -> Verdict:
    """Return the verdict on the answers of a run.

    Args:
        fields: of `generate`, by system, to say how to use the best one.
        tolerance: nats per token that planned answers may be less likely than left to right.
    """
    rows = sorted(sides.compared(), key=lambda row: row.seconds.value)
    if all(row.planned.high < HARDLY_ANY for row in rows):
        return _without_plans(sides, rows)
    if rows[0].seconds.count < FEWEST_TIMES:
        few = f"but these are the times of {rows[0].seconds.count} batches, and an interval takes {FEWEST_TIMES}"
        return _open(rows[0], f"{_cost(rows[0], sides)}, {few}")
    faster = [row for row in rows if row.seconds.high < 1 and row.planned.low > 0]
    for row in faster:
        if row.likelihood is None or row.likelihood.low >= -tolerance:
            how = ", ".join(f"{name}={value!r}" for name, value in fields[row.system].items())
            sentence = f"Planning pays here: {_cost(row, sides)}, and {_text(row)}. Use {how}."
            return Verdict("pays", sentence, row.system)
    if faster:
        return _at_a_price(faster, sides, tolerance)
    if all(row.seconds.low > 1 for row in rows):
        fewer = rows[0].critical_path
        why = "the parts save fewer forwards than the plan takes" if fewer.high >= 1 else "each forward takes longer"
        path = f"its critical path is {_shown(fewer)} of theirs"
        return Verdict("slower", f"Planning does not pay here, because {why}: {_cost(rows[0], sides)}, and {path}.")
    return _open(rows[0], f"{_cost(rows[0], sides)}, so that it may be faster or not")


def _without_plans(sides: Sides, rows: Sequence[Comparison]) -> Verdict:
    """Return the verdict where hardly any answer has a plan."""
    most = max(rows, key=lambda row: row.planned.high)
    plans = f"{_percent(most.planned)} of the answers get a plan"
    short = sides.share_below(WORTH_TWO_PARTS)
    length = f"{_percent(short)} of them have fewer than {WORTH_TWO_PARTS} tokens left to right"
    little = f"a plan of two parts leaves more than {MOST_LEFT}"
    if short.low > MOSTLY:
        name, why = "short", f"the answers are too short: {length}, of which {little}; {plans}"
    elif short.high < MOSTLY:
        name, why = "one piece", f"the model writes these answers in one piece: {plans}, although only {length}"
    else:
        others = "the model writes the others in one piece"
        name, why = "mixed", f"many answers are too short, and {others}: {plans}; {length}, of which {little}"
    return Verdict(name, f"Planning does not pay here, because {why}.")


def _at_a_price(faster: Sequence[Comparison], sides: Sides, tolerance: float) -> Verdict:
    """Return the verdict where planners are faster, and none is shown to keep the likelihood."""
    kindest = max(faster, key=lambda row: row.likelihood.high if row.likelihood else 0.0)
    said = f"{_cost(kindest, sides)}, but {_text(kindest)}"
    if kindest.likelihood is not None and kindest.likelihood.high < -tolerance:
        allowed = f"more than the {tolerance:g} that --tolerance allows"
        return Verdict("text", f"Planning does not pay here, because it costs text: {said}, {allowed}.")
    return _open(kindest, f"{said}, which may be more than the {tolerance:g} that --tolerance allows, or less")


def _open(row: Comparison, said: str) -> Verdict:
    count = row.planned.count
    return Verdict(
        "open", f"It cannot be told whether planning pays here: {said}; give more prompts than these {count}."
    )


def _cost(row: Comparison, sides: Sides) -> str:
    seconds, tokens, planned = _shown(row.seconds), _shown(row.tokens), _percent(row.planned)
    return (
        f"{row.system} takes {seconds} of the seconds of {sides.reference}, for {tokens} of its tokens, with plans for "
        f"{planned} of the answers"
    )


def _text(row: Comparison) -> str:
    """Return what became of the likelihood of the planned answers."""
    if row.likelihood is None:
        return "nothing scored its text"
    return f"its planned answers differ by {_shown(row.likelihood, '+.2f')} nats per token"


def _shown(estimate: Estimate, number: str = ".2f") -> str:
    """Return an estimate with its interval."""
    return f"{estimate.value:{number}} ({estimate.low:{number}} to {estimate.high:{number}})"


def _percent(share: Estimate) -> str:
    return f"{100 * share.value:.0f} % ({100 * share.low:.0f} to {100 * share.high:.0f} %)"
