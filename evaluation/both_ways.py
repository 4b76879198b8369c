"""Ask whether planning pays for some prompts (`planned-diffusion pays`): a sample, both ways, side by side.

1. draw a sample of the prompts                                     here
2. answer, prompt after prompt, each system in turn                 text_contest.py, text_answers.py
3. score every answer under the base, or the model itself           likelihood.py
4. compare planners with the faster way left to right               pays_figures.py
5. say whether it pays                                              verdict.py, pays_report.py
"""

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from random import Random

from ..generation.decoders.table import DECODERS
from ..records.journal import Journal
from .pays_figures import Sides
from .pays_report import report_pays
from .stamp import SEED
from .text_answers import TextAnswer, request_for
from .text_contest import answer_all, batches_of, load_sides, warm_up
from .text_prompts import TextPrompt, read_text_prompts
from .text_settings import TextEvaluation
from .text_task import header_of, stamp_of
from .untouched_base import is_untouched
from .variants import VARIANTS, Systems
from .verdict import TOLERANCE, Verdict, verdict_on

LEFT_TO_RIGHT = ("autoregressive", "speculative")  # decoders


def does_it_pay(
    evaluation: TextEvaluation, keep: Path | None = None, tolerance: float = TOLERANCE
) -> tuple[Verdict, list[TextAnswer]]:
    """Answer a sample of the prompts left to right and with plans; print both sides and the verdict, and return it.

    Every answer is written into `keep` at once; a run with the same `keep`, checkpoints, code and machine continues.

    Args:
        evaluation: `count` is the size of the sample; with `decoding`, only that decoder plans.
        tolerance: nats per token that planned answers may be less likely than left to right.

    Raises:
        ValueError: bad prompts, a model that has not learned to plan, a tolerance below 0, or `keep` of another run.
        RuntimeError: `keep` cannot be written.
    """
    if not tolerance >= 0:
        raise ValueError(f"tolerance is {tolerance}; give nats per token, at least 0.")
    if is_untouched(evaluation.model):
        raise ValueError(
            f"{Path(evaluation.model).name} has not learned to plan, so there is nothing to compare; train it first, "
            "or give --model a planner such as smollm2-planner."
        )
    prompts = sample_of(read_text_prompts(evaluation.prompts), evaluation.count)
    contest = load_sides(evaluation, chosen_systems(evaluation))
    for system in contest.systems:
        for asked in prompts:
            request_for(system, asked)  # refused before any work
    warm_up(contest.systems, prompts[0])
    stamp = stamp_of(evaluation, contest) | {"batch": evaluation.batch_size}
    header = header_of(evaluation, stamp, "pays")
    answers: list[TextAnswer] = []
    with Journal(keep, header) if keep else nullcontext() as journal, evaluation.bar("answering both ways") as show:
        answers += answer_all(contest, batches_of(prompts, (evaluation.batch_size,)), journal, show)
    sides = sides_of(answers, {one.name: one.fields for one in contest.systems})
    verdict = verdict_on(sides, VARIANTS, tolerance)
    report_pays(sides, verdict, stamp, evaluation.as_json)
    return verdict, answers


def sample_of(prompts: Sequence[TextPrompt], count: int | None) -> list[TextPrompt]:
    """Return `count` of the prompts at random, always the same, in their order; all where there are fewer."""
    if count is None or count >= len(prompts):
        return list(prompts)
    return sorted(Random(SEED).sample(list(prompts), count), key=lambda one: one.line)


def sides_of(answers: Sequence[TextAnswer], fields: Mapping[str, Mapping[str, object]]) -> Sides:
    """Return answers by system, those left to right apart.

    Args:
        fields: of `generate`, by system.
    """
    left_to_right: dict[str, list[TextAnswer]] = {}
    planners: dict[str, list[TextAnswer]] = {}
    for one in answers:
        is_plain = fields[one.system]["decoding"] in LEFT_TO_RIGHT
        (left_to_right if is_plain else planners).setdefault(one.system, []).append(one)
    return Sides(left_to_right, planners)


def chosen_systems(evaluation: TextEvaluation) -> Systems:
    """Return the systems that take part: those that plan, of one decoder where it is named, and all left to right.

    Raises:
        ValueError: no such decoder, or one that does not plan.
    """
    everyone = {**evaluation.systems, **replace(evaluation, decoding=None).systems}
    planners = {name for name, one in evaluation.systems.items() if DECODERS[one["decoding"]].plans}
    if not planners:
        known = ", ".join(name for name, one in DECODERS.items() if one.plans)
        raise ValueError(f"decoding is {evaluation.decoding!r}, which does not plan; choose one of {known}.")
    return {name: one for name, one in everyone.items() if name in planners or one["decoding"] in LEFT_TO_RIGHT}
