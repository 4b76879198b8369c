"""The model card of the embedded checkpoint, written from what was measured."""

from pathlib import Path
from typing import Any

from ..facts.countries import ATTRIBUTES, load_countries
from .measure import Measurement

CARD = """---
license: apache-2.0
language: en
library_name: transformers
pipeline_tag: text-generation
tags:
- diffusion
- planned-diffusion
- custom_code
---

# Planned Diffusion: country facts

A language model of {parameters:.1f} M parameters that plans an answer (topics and lengths of its parts) and then
denoises all parts at once: [Planned Diffusion, arXiv 2510.18087](https://arxiv.org/abs/2510.18087). It is the
demonstration and test model of the package `planned_diffusion`: small enough for a laptop's CPU, trained from scratch
on facts that can be checked.

## Use

```python
from transformers import AutoTokenizer
from planned_diffusion import PlannedDiffusionForCausalLM

model = PlannedDiffusionForCausalLM.from_pretrained("checkpoints/facts", dtype="auto")
tokenizer = AutoTokenizer.from_pretrained("checkpoints/facts")
inputs = tokenizer("Which currency and which capital does Kenya have?", return_tensors="pt")
print(tokenizer.batch_decode(model.generate(**inputs), skip_special_tokens=True)[0])
```

A bare text is taken as a question; `apply_chat_template` gives the same ids. Defaults: greedy, confidence threshold
0.9, up to eight tokens of the plan guessed ahead.

## Data

{countries} countries with {attributes} attributes each ({attribute_names}), one canonical sentence per fact; questions
about one to six attributes of a country in many phrasings, and comparisons of two countries, answered in two rounds.
Written for this project (`facts/`), no outside text. Held out: some phrasings, and some combinations of
country and attributes.

## Recipe

`make checkpoint`: a byte-level BPE of {vocabulary} tokens, then three stages of 32 examples a step: 3,750 steps from
scratch (`training/recipes/facts.yaml`), 1,050 that teach the other decoders as well (`facts_blocks.yaml`: 30 % of the
answers in blocks of 4 to 128 tokens, spans also read from left to right), and 1,000 that teach guesses of the next
eight tokens besides (`facts_drafts.yaml`). Two-stream objective with spans laid out as in generation; 40 % of the spans
are masked whole, for a span finds its promise by its place; 30 % of the examples are used as plain text, for the
left-to-right decoder; two fifths of the prompts have their fields between random words. AdamW, bf16 autocast, 45
minutes on 2 CPU cores. (These weights: the third stage began with the bfloat16 weights of the second.)

## Results

{count} held-out prompts (combinations never trained on, half of them in phrasings never seen), means per answer:

{table}

{stamp}

Answers right: every fact of the answer exactly right. Tokens: text written, without pads, plan and tags.

## Limits

It knows these facts and no others, answers any other question with one of its sentences, and reads English questions of
the kind it was trained on. Facts were checked against public packages in 2026 and age; some choices (one main language,
one capital) simplify. Do not use it as a source.
"""


def write_facts_card(
    path: Path, measurements: list[Measurement], environment: dict[str, Any], parameters: float, vocabulary: int
) -> None:
    """Write README.md into the checkpoint's folder; `parameters` in millions."""
    path.joinpath("README.md").write_text(
        CARD.format(
            parameters=parameters,
            vocabulary=vocabulary,
            countries=len(load_countries()),
            attributes=len(ATTRIBUTES),
            attribute_names=", ".join(name.replace("_", " ") for name in ATTRIBUTES),
            count=measurements[0].answers,
            table=markdown_table(measurements),
            stamp="; ".join(f"{key}: {value}" for key, value in environment.items()),
        ),
        encoding="utf-8",
    )


def markdown_table(measurements: list[Measurement]) -> str:
    """Return the measurements as a Markdown table."""
    rows = [
        "| | answers right | facts right | forwards | forwards, 3+ parts | tokens | ms per answer |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in measurements:
        rows.append(
            f"| {row.system} | {row.answers_right:.1%} | {row.facts_right:.1%} | {row.forwards:.1f} | "
            f"{row.many_parts_forwards:.1f} | {row.tokens:.1f} | {row.seconds * 1000:.0f} |"
        )
    return "\n".join(rows)
