"""The studies that `planned-diffusion study` knows: systems that answer the same prompts, and findings to be examined.

A study is a line of STUDIES. Its findings are those of the paper (arXiv 2510.18087, sections 4 and 5: Dream-7B,
AlpacaEval, one prompt at a time on an H200), as sentences about two systems and one figure; study_findings.py says
whether the answers confirm them. Everything here is decided when text is generated: what a model becomes that was
trained otherwise (dense attention, more epochs, plans without topics) is no study of this kind.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..facts.generator import COMPARISON_SHARE
from .variants import PLANNED, VARIANTS, Systems

MOST_FACTS = 6  # of a question
FASTEST_PLANNED = "planned, threshold 0.9, lookahead 3"
LEFT_TO_RIGHT = "autoregressive"


@dataclass(frozen=True)
class Finding:
    """A sentence about two systems: a figure of `system` is less (or more) than that of `than`.

    kind: the sentence is about prompts of this kind; None: about all.
    """

    says: str
    system: str
    than: str
    figure: str
    is_less: bool = True
    kind: str | None = None


@dataclass(frozen=True)
class Study:
    """Systems to compare, and what is said of them.

    edits: how the plan of a system is changed and given back (plan_edits.py), by system.
    comparisons: share of the questions that compare two countries, in two rounds.
    by_kind: tables by kind of prompt as well.
    areas: also the area measure of every decoder (parallelism_area.py).
    """

    question: str
    systems: Systems
    findings: Sequence[Finding]
    edits: Mapping[str, str] = field(default_factory=dict)
    comparisons: float = COMPARISON_SHARE
    by_kind: bool = False
    areas: bool = False


def _steps(ratio: float, threshold: float | None) -> tuple[str, dict[str, Any]]:
    name = f"ratio {ratio:g}" + (f", threshold {threshold:g}" if threshold else "")
    return name, {**PLANNED, "steps_ratio": ratio, "confidence_threshold": threshold}


def _scaled(factor: float) -> tuple[str, dict[str, Any]]:
    return f"length x {factor:g}", {**PLANNED, "length_scale": factor}


def facts_kind(number: int) -> str:
    """Return the kind of a question about one country that asks for so many facts."""
    return f"{number} fact{'s' if number > 1 else ''}"


RATIOS, THRESHOLDS = (1.0, 0.75, 0.5, 0.25), (None, 0.9, 0.5)
FACTORS = (0.5, 0.75, 1.0, 1.25, 1.5, 2.0, 2.5)
SPEEDS = (LEFT_TO_RIGHT, "parallel autoregressive, lookahead 3", "planned, ratio 1", FASTEST_PLANNED)

STUDIES = {
    "steps": Study(
        "How do fewer steps (steps_ratio) and writing what is sure (confidence_threshold) trade quality for speed?",
        dict(_steps(ratio, threshold) for ratio in RATIOS for threshold in THRESHOLDS),
        (
            Finding("half the steps cost quality", "ratio 0.5", "ratio 1", "facts right"),
            Finding("half the steps save seconds", "ratio 0.5", "ratio 1", "seconds"),
            Finding("a threshold of 0.9 saves seconds", "ratio 1, threshold 0.9", "ratio 1", "seconds"),
            Finding("a threshold of 0.9 costs quality", "ratio 1, threshold 0.9", "ratio 1", "facts right"),
            Finding("ratio 0.75 with threshold 0.9 saves more", "ratio 0.75, threshold 0.9", "ratio 0.75", "seconds"),
        ),
    ),
    "attention": Study(
        "What do parts gain from seeing each other (span_attention), in a model as it was trained?",
        {
            f"{kind}{name}": {**PLANNED, "confidence_threshold": threshold, "span_attention": kind}
            for kind in ("sparse", "dense")
            for name, threshold in (("", None), (", threshold 0.9", 0.9))
        },
        (
            Finding("sparse attention costs quality", "sparse", "dense", "facts right"),
            Finding("sparse attention saves seconds", "sparse", "dense", "seconds"),
            Finding("sparse attention takes fewer forwards", "sparse", "dense", "forwards"),
        ),
    ),
    "length": Study(
        "Are the promised lengths right: what if every part gets a multiple of its promise (length_scale)?",
        dict(map(_scaled, FACTORS)),
        tuple(
            Finding(f"{factor:g} is worse than the promise", f"length x {factor:g}", "length x 1", "facts right")
            for factor in FACTORS
            if factor != 1
        ),
    ),
    "topics": Study(
        "Do the topics in a plan matter, or only its lengths?",
        {"plan given back": PLANNED, "plan without topics": PLANNED},
        (
            Finding("without topics quality falls", "plan without topics", "plan given back", "facts right"),
        ),
        {"plan given back": "as it is", "plan without topics": "without topics"},
    ),
    "sync": Study(
        "Do later rounds, which see the earlier ones, matter? On comparisons, which take two rounds.",
        {
            "plan given back": PLANNED,
            "plan in one round": PLANNED,
            "planned": PLANNED,
            "planned, no second round": {**PLANNED, "max_rounds": 1},
        },
        (
            Finding("without a sync quality falls", "plan in one round", "plan given back", "facts right"),
            Finding("without a sync it is faster", "plan in one round", "plan given back", "seconds"),
            Finding("a plan that may not sync is worse", "planned, no second round", "planned", "facts right"),
        ),
        {"plan given back": "as it is", "plan in one round": "in one round"},
        comparisons=1.0,
    ),
    "parts": Study(
        "How many parts does a plan need until it saves time?",
        {name: VARIANTS[name] for name in SPEEDS},
        tuple(
            Finding(f"a plan {how} saves {figure} on {kind}", system, LEFT_TO_RIGHT, figure, kind=kind)
            for how, system, figure in (
                ("alone, a token per step,", "planned, ratio 1", "forwards"),
                ("with threshold and lookahead", FASTEST_PLANNED, "seconds"),
            )
            for kind in map(facts_kind, range(1, MOST_FACTS + 1))
        ),
        by_kind=True,
    ),
    "decoders": Study(
        "Which decoder is on the frontier of quality and cost?",
        VARIANTS,
        (
            Finding("planned takes fewer seconds", FASTEST_PLANNED, LEFT_TO_RIGHT, "seconds"),
            Finding("planned, one token per step, is faster too", "planned, ratio 1", LEFT_TO_RIGHT, "seconds"),
            Finding("planned costs quality", FASTEST_PLANNED, LEFT_TO_RIGHT, "facts right"),
            Finding("plain diffusion is slower", LEFT_TO_RIGHT, "diffusion, ratio 1", "seconds"),
            Finding("plain diffusion is better", LEFT_TO_RIGHT, "diffusion, ratio 1", "facts right"),
            Finding(
                "Fast-dLLM is slower", FASTEST_PLANNED, "Fast-dLLM, dual cache, threshold 0.9", "seconds"
            ),
            Finding(
                "Fast-dLLM is worse", "Fast-dLLM, dual cache, threshold 0.9", FASTEST_PLANNED, "facts right"
            ),
        ),
        areas=True,
    ),
}  # fmt: skip
