"""The figures of a text task, each a ratio of two sums over the answers (bootstrap.py), and their estimates.

    planned              answers with two or more parallel parts, of all; also of the prompts that ask for parts or not
    parts, rounds        per answer that has a plan; so are plan tokens, and their share of the critical path
    spans ended          spans that left some of their promised room unused, of all spans
    room used            tokens used over tokens promised, per span: median and quartiles
    log-likelihood       nats per token of an answer under the untouched base (likelihood.py), mean over the answers
    repeated             word 3-grams (repetition.py) in the whole answer, within its parts, and between its parts
    drafts accepted      guesses that were right, per forward, over the answers for which some were checked
    first guesses right  of the guesses of the next token, those that were right
    beside the base      over the prompts that a system planned: its sum over the base's sum on the same prompts, and
                         the mean difference of the log-likelihoods

The answers of a batch share their seconds, so intervals of seconds draw batches again, not prompts.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch

from .bootstrap import Estimate, Term, estimate
from .repetition import repeated_between, repeated_within, twins
from .text_answers import TextAnswer

QUARTILES = (0.25, 0.5, 0.75)

Estimates = dict[str, Estimate | None]


def _nats_per_token(answer: TextAnswer) -> Term | None:
    found = answer.likelihood
    return (found.total / found.tokens, 1) if found is not None and found.tokens else None


def _where(asks_for_parts: bool) -> Callable[[TextAnswer], Term | None]:
    return lambda one: (one.is_planned, 1) if one.asked.asks_for_parts is asks_for_parts else None


# Figure -> what an answer adds to its two sums; None where it does not count.
FIGURES: Mapping[str, Callable[[TextAnswer], Term | None]] = {
    "planned": lambda one: (one.is_planned, 1),
    "planned_where_parts_are_asked": _where(True),
    "planned_where_no_parts_are_asked": _where(False),
    "parts": lambda one: (len(one.spans), 1) if one.spans else None,
    "rounds": lambda one: (len(one.plans), 1) if one.spans else None,
    "plan_tokens": lambda one: (one.plan_tokens, 1) if one.spans else None,
    "plan_share": lambda one: (one.planning, one.critical_path) if one.spans else None,
    "spans_ended": lambda one: (sum(span.used < span.length for span in one.spans), len(one.spans)),
    "forwards": lambda one: (one.forwards, 1),
    "critical_path": lambda one: (one.critical_path, 1),
    "tokens": lambda one: (one.tokens, 1),
    "tokens_per_forward": lambda one: (one.tokens, one.forwards),
    "drafts_accepted": lambda one: (sum(one.drafts_accepted), one.forwards) if one.drafts_checked else None,
    "first_guesses_right": lambda one: (sum(one.drafts_accepted[:1]), sum(one.drafts_checked[:1])),
    "tokens_run": lambda one: (one.tokens_run, 1),
    "seconds": lambda one: (one.seconds, 1),
    "ended_by_eos": lambda one: (one.ended == "eos", 1),
    "log_likelihood": _nats_per_token,
    "repeated": lambda one: repeated_within([one.text]),
    "repeated_within_parts": lambda one: repeated_within(one.parts),
    "repeated_between_parts": lambda one: repeated_between(one.parts) if len(one.parts) > 1 else None,
    "twin_parts": lambda one: twins(one.parts) if len(one.parts) > 1 else None,
}


def _gap(own: TextAnswer, base: TextAnswer) -> Term | None:
    mine, other = _nats_per_token(own), _nats_per_token(base)
    return None if mine is None or other is None else (mine[0] - other[0], 1)


# Figure beside the base -> what a planned answer and the base's answer to the same prompt add to its two sums.
BESIDE_BASE: Mapping[str, Callable[[TextAnswer, TextAnswer], Term | None]] = {
    "forwards": lambda own, base: (own.forwards, base.forwards),
    "seconds": lambda own, base: (own.seconds, base.seconds),
    "tokens": lambda own, base: (own.tokens, base.tokens),
    "log_likelihood": _gap,
}


def figures_of(answer: TextAnswer) -> dict[str, float | None]:
    """Return the figures of one answer; None where it does not count."""
    terms = {name: of(answer) for name, of in FIGURES.items()}
    return {name: term[0] / term[1] if term is not None and term[1] else None for name, term in terms.items()}


@dataclass(frozen=True)
class TextMeasurement:
    """The figures of one system; a figure is None where no answer counts.

    kinds: share planned by kind of prompt, where the file names kinds.
    promised, used, room_used: quartiles over all spans, of the promised tokens, the used ones, and their ratio; empty
        without spans.
    beside_base: ratios to the base, empty where there is none.
    """

    system: str
    batch_size: int
    answers: int
    figures: Estimates
    kinds: Estimates
    promised: tuple[float, ...]
    used: tuple[float, ...]
    room_used: tuple[float, ...]
    beside_base: Estimates


def summarise_text(answers: Sequence[TextAnswer], base: Sequence[TextAnswer] = ()) -> TextMeasurement:
    """Return the figures of one system's answers, beside those of the base to the same prompts."""
    same = {one.asked.line: one for one in base}
    pairs = [(one, same[one.asked.line]) for one in answers if one.is_planned and one.asked.line in same]
    spans = [span for one in answers for span in one.spans]
    kinds = sorted({one.asked.kind for one in answers if one.asked.kind is not None})
    return TextMeasurement(
        system=answers[0].system,
        batch_size=answers[0].batch_size,
        answers=len(answers),
        figures={
            name: estimate(drawn_together(name, [(one.batch, of(one)) for one in answers]))
            for name, of in FIGURES.items()
        },
        kinds={kind: estimate((one.is_planned, 1) for one in answers if one.asked.kind == kind) for kind in kinds},
        promised=quartiles([span.length for span in spans]),
        used=quartiles([span.used for span in spans]),
        room_used=quartiles([span.used / span.length for span in spans]),
        beside_base={
            name: estimate(drawn_together(name, [(own.batch, of(own, other)) for own, other in pairs]))
            for name, of in BESIDE_BASE.items()
            if same
        },
    )


def drawn_together(name: str, terms: Sequence[tuple[int, Term | None]]) -> Iterator[Term | None]:
    """Yield the terms that are drawn again as one: those of a batch for its seconds, and else each by itself."""
    if name != "seconds":
        yield from (term for _, term in terms)
        return
    yield from _sums_of_batches(terms)


def seconds_of_batches(answers: Sequence[TextAnswer]) -> Iterator[Term]:
    """Yield the seconds and the answers of every batch."""
    return _sums_of_batches([(one.batch, (one.seconds, 1)) for one in answers])


def _sums_of_batches(terms: Sequence[tuple[int, Term | None]]) -> Iterator[Term]:
    sums: dict[int, Term] = {}
    for batch, term in terms:
        if term is not None:
            x, w = sums.get(batch, (0.0, 0.0))
            sums[batch] = (x + term[0], w + term[1])
    yield from sums.values()


def quartiles(values: Sequence[float]) -> tuple[float, ...]:
    """Return the quartiles of some values, the median in the middle; nothing where there are none."""
    if not values:
        return ()
    found = torch.quantile(torch.tensor(values, dtype=torch.float64), torch.tensor(QUARTILES, dtype=torch.float64))
    return tuple(found.tolist())
