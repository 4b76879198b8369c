"""Compare planners with the faster way left to right, prompt by prompt: ratios and differences with intervals.

    seconds, forwards,      sum over all prompts, over the same sum left to right; an answer without a plan counts, too
    critical path, tokens
    likelihood              nats per token of the planned answers, less those of the same prompts left to right

Prompts are drawn again in pairs (bootstrap.py), so that what is hard for both sides does not widen the interval.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from .bootstrap import Estimate, Term, estimate
from .text_answers import TextAnswer
from .text_figures import BESIDE_BASE, drawn_together

RULE_OF_THREE = 3.0  # a share of which n trials showed none is below 3 / n, with 95 % confidence
PLAN_OF_TWO = 12  # tokens of a plan for two parts of natural text, 5.6 each and 1 (benchmarks/results/length_unit.json)

RATIOS: Mapping[str, Callable[[TextAnswer, TextAnswer], Term | None]] = {
    **{name: BESIDE_BASE[name] for name in ("seconds", "forwards", "tokens")},
    "critical_path": lambda own, other: (own.critical_path, other.critical_path),
}


@dataclass(frozen=True)
class Comparison:
    """A planner beside the faster way left to right; see the top of this file.

    planned: share of answers with two or more parallel parts; where none was found, up to 3 / n.
    likelihood: None where no answer was planned, or nothing scores.
    """

    system: str
    planned: Estimate
    seconds: Estimate
    forwards: Estimate
    critical_path: Estimate
    tokens: Estimate
    likelihood: Estimate | None


@dataclass(frozen=True)
class Sides:
    """The answers of a run by system: those that write left to right, and those that plan."""

    left_to_right: Mapping[str, Sequence[TextAnswer]]
    planners: Mapping[str, Sequence[TextAnswer]]

    @property
    def reference(self) -> str:
        """Return the way left to right that took the least seconds."""
        return min(self.left_to_right, key=lambda name: sum(one.seconds for one in self.left_to_right[name]))

    def share_below(self, tokens: int) -> Estimate:
        """Return the share of answers left to right that have fewer tokens."""
        return estimated_share([one.tokens < tokens for one in self.left_to_right[self.reference]])

    def compared(self) -> list[Comparison]:
        """Return every planner beside the reference."""
        reference = {one.asked.line: one for one in self.left_to_right[self.reference]}
        return [
            compare(name, [(own, reference[own.asked.line]) for own in answers if own.asked.line in reference])
            for name, answers in self.planners.items()
        ]


def compare(system: str, pairs: Sequence[tuple[TextAnswer, TextAnswer]]) -> Comparison:
    """Return a planner's answers beside those of the reference to the same prompts, at least one."""
    ratios: dict[str, Estimate] = {}
    for name, of in RATIOS.items():
        found = estimate(drawn_together(name, [(own.batch, of(own, other)) for own, other in pairs]))
        assert found is not None  # every answer takes a forward, and so a token and some time
        ratios[name] = found
    likelihood = estimate(BESIDE_BASE["log_likelihood"](own, other) for own, other in pairs if own.is_planned)
    return Comparison(system, estimated_share([own.is_planned for own, _ in pairs]), **ratios, likelihood=likelihood)


def estimated_share(found_in: Sequence[bool]) -> Estimate:
    """Return the share of answers in which something was found; an interval at 0 or 1 is widened by the rule of three.

    The bootstrap alone would say that a share that was never seen is exactly 0.
    """
    found = estimate((one, 1) for one in found_in)
    assert found is not None
    room = min(1.0, RULE_OF_THREE / found.count)
    low, high = min(found.low, 1 - room) if found.value == 1 else found.low, found.high
    return Estimate(found.value, low, max(high, room) if found.value == 0 else high, found.count)
