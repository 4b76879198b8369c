"""The embedded model on held-out prompts: what its answers cost together and alone, planned and left to right."""

from statistics import fmean

from bench import Bench
from harness import interleaved, ratio, timing
from transformers import AutoTokenizer

from planned_diffusion.evaluation.measure import MANY_PARTS, answer_questions
from planned_diffusion.evaluation.variants import SYSTEMS
from planned_diffusion.facts.generator import held_out_questions
from planned_diffusion.loading.embedded import EMBEDDED

TOGETHER = 8
REQUESTS = 16
ROUNDS = 3  # every prompt is answered in every way once per round
PAIRS = 3  # times as many repeats, as far as the time for a point allows: a single ratio may be 10 % off
AS_SHIPPED = "planned, threshold 0.9, lookahead 3"  # the embedded checkpoint's generation_config.json
COMPARED = ("planned, ratio 1", "planned, threshold 0.9", AS_SHIPPED, "autoregressive")
SEED = 7


def batching(bench: Bench) -> list[dict]:
    """Compare held-out prompts, eight in one engine, with one at a time."""
    examples = held_out_questions(REQUESTS, SEED)[: bench.largest]
    rows = []
    for system in COMPARED:
        competitors = {
            "alone": _run(bench, system, examples, 1),
            "together": _run(bench, system, examples, TOGETHER),
        }
        seconds = interleaved(competitors, PAIRS * bench.repeats, bench.point_s)
        row = {"system": system, "answers": len(examples), **timing(seconds["together"])}
        alone = timing(seconds["alone"])
        rows.append(row | {"alone ms": alone["ms"], "gain": ratio(seconds["alone"], seconds["together"])})
    return rows


def many_parts(bench: Bench) -> list[dict]:
    """Compare seconds with left to right on held-out prompts of three parts or more, one at a time.

    The ways take turns prompt by prompt, so that a machine that slows down slows all of them down.
    """
    pool = held_out_questions(8 * REQUESTS, SEED)
    examples = [example for example in pool if len(example.statements) >= MANY_PARTS][:REQUESTS][: bench.largest]
    forwards = {system: fmean(one.trace.forwards for one in _run(bench, system, examples, 1)()) for system in COMPARED}
    of_prompts = [
        interleaved({system: _run(bench, system, [example], 1) for system in COMPARED}, min(bench.repeats, ROUNDS))
        for example in examples
    ]
    seconds = {
        system: [sum(rounds) for rounds in zip(*(of_prompt[system] for of_prompt in of_prompts), strict=True)]
        for system in COMPARED
    }
    return [
        {"system": system, "answers": len(examples), "forwards": forwards[system], **timing(values),
         "gain": ratio(seconds["autoregressive"], values)}
        for system, values in seconds.items()
    ]  # fmt: skip


def _run(bench: Bench, system: str, examples: list, batch_size: int):
    tokenizer = AutoTokenizer.from_pretrained(EMBEDDED)
    return lambda: list(answer_questions(bench.model, tokenizer, examples, batch_size, **SYSTEMS[system]))
