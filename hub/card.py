"""The model card of a pushed checkpoint: metadata, and one section that is written anew at every push.

What the owner wrote into README.md stays: its text word for word, its metadata wherever it says something.
"""

import json
import subprocess
import sys
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from huggingface_hub import EvalResult, ModelCard, ModelCardData

from ..configuration_planned_diffusion import PlannedDiffusionConfig
from ..loading.memory import memory_of, readable

START, END = "<!-- planned-diffusion push: from here on written anew -->", "<!-- planned-diffusion push: end -->"
TEMPLATE_MARK = "[More Information Needed]"  # in cards that nobody filled in
TAGS = ("custom_code", "diffusion", "planned-diffusion")
QUICK_START_SECONDS = 600
# fields of results.json that become results of the card -> their type there
METRICS = {"answers_right": "accuracy", "facts_right": "accuracy", "forwards": "forwards"}
KNOBS = {
    "decoding": '`"planned"`, or another decoder on the same weights',
    "steps_ratio": "denoising steps of a round = its longest span x ratio",
    "confidence_threshold": "also write every blank whose most likely token has at least this probability",
    "unmasking": "which blanks first",
    "span_attention": '`"sparse"`: the parts of a round do not see each other; `"dense"`: they do',
    "length_scale": "multiplies promised lengths",
    "max_spans": "most parts per round",
    "max_rounds": "most rounds",
    "max_new_tokens": "bounds everything written, plan and tags included",
    "do_sample": "sample rather than take the most likely token",
    "keep_plan": "return plan and tags as written",
}
LIMITS = """- `trust_remote_code=True` runs the files listed below; they open no file, socket or process. Pin a
  `revision=` to run what you have read.
- Prompt and answer together have {positions:,} positions. Streamers follow one answer at a time.
- Attention: sdpa (default), eager or flex_attention; FlashAttention cannot express spans.
- What the model knows and how well it plans is a matter of its training data; check what it says."""
QUICK_START = """from transformers import AutoModelForCausalLM, AutoTokenizer

repo = {repo}
model = AutoModelForCausalLM.from_pretrained(repo, trust_remote_code=True, dtype="auto"{revision})
tokenizer = AutoTokenizer.from_pretrained({tokenizer}, trust_remote_code=True{revision})

{inputs}
out = model.generate(**inputs{greedy}, return_dict_in_generate=True)

print(tokenizer.decode(out.sequences[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True))
print([[span.topic for span in spans] for spans in out.plans[0]], out.trace[0].forwards, "forwards")
"""
CHAT = """chat = [{{"role": "user", "content": {prompt!r}}}]
inputs = tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_tensors="pt", return_dict=True)"""

TEXT = 'inputs = tokenizer({prompt}, return_tensors="pt")'


@dataclass(frozen=True)
class About:
    """What a card says that no file of a checkpoint knows; None: what README.md says."""

    license: str | None = None
    base_model: str | None = None
    relation: str = "finetune"  # or "quantized", "merge", "adapter"
    datasets: tuple[str, ...] = ()
    prompt: str = "What are the capital and the currency of Kenya?"


def write_card(
    repo: str, files: dict[str, Path], config: PlannedDiffusionConfig, about: About, output: str | None, tag: str | None
) -> str:
    """The content of README.md, front matter included.

    Args:
        repo: owner/name.
        files: what will be uploaded: name -> file; README.md and results.json are read if they are among them.
        config: of the model, or of the model that an adapter stands on.
        output: what the quick start printed; None if it was not run.
        tag: the revision that the quick start loads; None for the newest.

    Raises:
        ValueError: no license is known.
    """
    card = own_card(files.get("README.md"))
    card.data = metadata(card.data, repo, files, about)
    before, _, rest = (card.text.strip() or f"# {repo.split('/')[1]}").partition(START)
    text = f"{before.rstrip()}\n\n{START}\n\n{section(repo, files, config, about, output, tag)}\n\n{END}\n"
    after = rest.partition(END)[2].strip()
    return f"---\n{card.data.to_yaml()}\n---\n\n{text}" + (f"\n{after}\n" if after else "")


def own_card(readme: Path | None) -> ModelCard:
    """The owner's card; an empty one where there is none, or only a library's template."""
    text = readme.read_text(encoding="utf-8") if readme else ""
    return ModelCard("" if TEMPLATE_MARK in text else text, ignore_metadata_errors=True)


def metadata(given: ModelCardData, repo: str, files: dict[str, Path], about: About) -> ModelCardData:
    """The owner's metadata, completed."""
    known = {name: value for name, value in given.to_dict().items() if value is not None}
    license_name = about.license or known.get("license")
    if not license_name:
        raise ValueError("No license is known; give --license, such as apache-2.0.")
    adapter = "adapter_config.json" in files
    base = about.base_model or known.get("base_model")
    own = {
        "license": license_name,
        "library_name": "peft" if adapter else known.get("library_name", "transformers"),
        "pipeline_tag": known.get("pipeline_tag", "text-generation"),
        "tags": sorted({*known.get("tags", ()), *TAGS, *(["lora"] if adapter else [])}),
        "datasets": list(about.datasets) or known.get("datasets"),
    }
    if base:
        relation = "adapter" if adapter else known.get("base_model_relation", about.relation)
        own |= {"base_model": base, "base_model_relation": relation}
    if "results.json" in files:
        own |= {"model_name": repo.split("/")[1], "eval_results": results(files["results.json"])}
        known.pop("model-index", None)
    return ModelCardData(**{**known, **{name: value for name, value in own.items() if value}})


def results(file: Path) -> list[EvalResult]:
    """The rows of an evaluation, {"results": [{"system", "answers_right", ...}]}, one result per metric."""
    measured = json.loads(file.read_text(encoding="utf-8"))
    return [
        EvalResult(
            task_type="text-generation",
            dataset_type="planned-diffusion/facts",
            dataset_name="Country facts, held-out prompts",
            metric_type=kind,
            metric_name=f"{metric.replace('_', ' ')} ({row['system']})",
            metric_value=round(row[metric], 4),
        )
        for row in measured["results"]
        for metric, kind in METRICS.items()
        if metric in row
    ]


def section(repo, files, config, about, output, tag) -> str:
    """The section that every push writes: quick start with its output, knobs, memory, limits, code."""
    code = quick_start(repo, files, about, tag)
    parts = [f"## Quick start\n\n```python\n{code}```"]
    if output is not None:
        parts.append(f"It prints:\n\n```\n{output}\n```")
    if "generation_config.json" in files:
        parts.append(f"## Decoding\n\nFields of `generate`, and their values here:\n\n{knobs(files, config)}")
    memory = memory_of(config)
    rows = [f"| {name} | {readable(size)} |" for name, size in memory.weights.items()]
    cache = readable(1000 * memory.cache_per_token)
    parts.append(
        f"## Memory\n\n{memory.parameters / 1e6:,.1f} M parameters; keys and values take {cache} per 1,000 tokens "
        "(bfloat16).\n\n| weights as | memory |\n|---|---|\n" + "\n".join(rows)
    )
    parts.append("## Limits\n\n" + LIMITS.format(positions=config.get_text_config().max_position_embeddings))
    code_files = {name: file for name, file in sorted(files.items()) if name.endswith(".py")}
    if code_files:
        listed = "\n".join(f"{sha256(file.read_bytes()).hexdigest()}  {name}" for name, file in code_files.items())
        parts.append(f"## Code\n\nSHA-256, as `sha256sum --check` reads it:\n\n```\n{listed}\n```")
    return "\n\n".join(parts)


def knobs(files: dict[str, Path], config: PlannedDiffusionConfig) -> str:
    fields = json.loads(files["generation_config.json"].read_text(encoding="utf-8"))
    fields["span_attention"] = fields.get("span_attention") or config.span_attention
    rows = [f"| `{name}` | {fields.get(name)} | {meaning} |" for name, meaning in KNOBS.items()]
    return "| field | value | meaning |\n|---|---|---|\n" + "\n".join(rows)


def quick_start(repo: str, files: dict[str, Path], about: About, tag: str | None = None) -> str:
    """The program of the card; a checkpoint without a chat template gets the prompt as it is.

    Of an adapter, transformers would look for `revision` in the base model as well, so none is given.
    """
    adapter = "adapter_config.json" in files
    chats = "chat_template.jinja" in files or adapter
    inputs = (CHAT if chats else TEXT).format(prompt=quoted(about.prompt))
    fields = files.get("generation_config.json")
    samples = fields is not None and json.loads(fields.read_text(encoding="utf-8")).get("do_sample")
    return QUICK_START.format(
        repo=quoted(repo),
        revision=f", revision={quoted(tag)}" if tag and not adapter else "",
        tokenizer="repo" if "tokenizer.json" in files or not about.base_model else quoted(about.base_model),
        inputs=inputs,
        greedy=", do_sample=False" if samples else "",
    )


def quoted(text: str) -> str:
    """A string as Python and JSON write it."""
    return json.dumps(text, ensure_ascii=False)


def run_quick_start(folder: Path, files: dict[str, Path], about: About) -> str:
    """Runs the card's program on the folder, in an interpreter of its own, and returns what it prints.

    Raises:
        ValueError: it fails.
    """
    code = quick_start(str(folder), files, about)
    done = subprocess.run(
        [sys.executable, "-I", "-c", code],
        capture_output=True,
        text=True,
        encoding="utf-8",
        stdin=subprocess.DEVNULL,
        timeout=QUICK_START_SECONDS,
    )
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise ValueError(f"The quick start of the card fails on {folder}: {reason}")
    return done.stdout.strip()
