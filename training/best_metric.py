"""The metric by which a run chooses its best checkpoint: refused before training where no evaluation will give it."""

from collections.abc import Sequence

from trl.trainer.sft_config import SFTConfig

from .examples import Example
from .objective import Objective
from .row import DRAFT, LOSS_NAMES, NEXT_TOKEN, PLAIN, PLAN, SPAN
from .samples import FIGURES

PREFIX = "eval_"  # as the Trainer, which adds it where it is left out


def check_best_metric(
    args: SFTConfig, evaluation: Sequence[Example] | None, objective: Objective, samples: int
) -> None:
    """Reject a `metric_for_best_model` that evaluations of these examples lack.

    Raises:
        ValueError: a name that is none of their metrics, or no evaluation.
    """
    asked = args.metric_for_best_model
    if asked is None:
        return
    if evaluation is None or args.eval_strategy == "no":
        raise ValueError(
            f"metric_for_best_model is {asked} and nothing is evaluated, so no model is the best; set eval_strategy "
            "and eval_file, or leave it out."
        )
    metrics = metrics_of(evaluation, objective, samples)
    if asked.removeprefix(PREFIX) not in metrics:
        raise ValueError(
            f"metric_for_best_model is {asked}, which the evaluations of this run do not give; choose from "
            f"{', '.join(metrics)}."
        )


def metrics_of(evaluation: Sequence[Example], objective: Objective, samples: int) -> list[str]:
    """Return the names of the metrics that an evaluation gives, without their prefix.

    Args:
        samples: number of prompts that are answered at each evaluation.
    """
    if objective.drafts_alone:
        return ["loss", LOSS_NAMES[DRAFT]]
    parts = {DRAFT} if objective.draft_weight else set()
    if any(example.is_tagged for example in evaluation):
        parts |= {PLAN, SPAN} | ({NEXT_TOKEN} if objective.has_causal_copies else set())
    if not all(example.is_tagged for example in evaluation):
        parts.add(PLAIN)
    figures = FIGURES if samples else ()
    return ["loss", *(name for part, name in LOSS_NAMES.items() if part in parts), *figures]
