"""Write the model card of a pushed checkpoint: metadata, and one section that every push replaces.

The owner's README.md stays: its text word for word, and every field of its metadata.
"""

import json
import subprocess
import sys
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path

from huggingface_hub import CardData, EvalResult, ModelCard, ModelCardData

from ..configuration_planned_diffusion import PlannedDiffusionConfig
from ..generation.draft_adapter import is_gated
from ..generation.fields import FIELDS, SHARED_FIELDS
from ..loading.memory import memory_of, readable

START, END = "<!-- planned-diffusion push: from here on written anew -->", "<!-- planned-diffusion push: end -->"
TEMPLATE_MARK = "[More Information Needed]"  # in cards that nobody filled in
TAGS = ("custom_code", "diffusion", "planned-diffusion")
QUICK_START_SECONDS = 600
# fields of results.json that become results of the card -> their type there
METRICS = {"answers_right": "accuracy", "facts_right": "accuracy", "forwards": "forwards"}
# fields of `generate` that a card lists; generation/fields.py says what they mean
CARD_FIELDS = (
    "decoding", "steps_ratio", "confidence_threshold", "unmasking", "span_attention", "length_scale", "max_spans",
    "max_rounds", "max_new_tokens", "do_sample", "keep_plan",
)  # fmt: skip
LIMITS = """- `trust_remote_code=True` runs the files listed below; they open no file, socket or process. Pin a
  `revision=` to run what you have read. The tokenizer needs none of them: `AutoTokenizer.from_pretrained(repo,
  trust_remote_code=False)` loads it, and does not stop to ask whether to run them.
- Prompt and answer together have {positions:,} positions. Streamers follow one answer at a time.
- Attention: sdpa (default), eager or flex_attention; FlashAttention cannot express spans.
- Knowledge and plans come from the training data; check the answers."""
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
    """Facts for a card that no file of a checkpoint states; None leaves what README.md says."""

    license: str | None = None
    base_model: str | None = None
    relation: str = "finetune"  # or "quantized", "merge", "adapter"
    datasets: tuple[str, ...] = ()
    prompt: str = "What are the capital and the currency of Kenya?"


@dataclass(frozen=True)
class Upload:
    """A checkpoint that a card is written for.

    Attributes:
        repo: owner/name.
        files: all files that will be uploaded: name -> file; README.md and results.json are read if they are there.
        config: configuration of the model, or of the base model of an adapter.
        about: facts that the files do not state.
        tag: revision that the quick start loads; None for the newest.
    """

    repo: str
    files: dict[str, Path]
    config: PlannedDiffusionConfig
    about: About
    tag: str | None

    @property
    def name(self) -> str:
        """Return the repository's name without its owner."""
        return self.repo.split("/")[1]

    @property
    def is_adapter(self) -> bool:
        """Return whether the files are those of a LoRA adapter."""
        return "adapter_config.json" in self.files

    @property
    def library(self) -> str | None:
        """Return the library that loads an adapter: PEFT refuses a gated one. None for a whole checkpoint."""
        if not self.is_adapter:
            return None
        return "transformers" if is_gated(str(Path(self.files["adapter_config.json"]).parent)) else "peft"


def write_card(upload: Upload, output: str | None) -> str:
    """Return the content of README.md, front matter included.

    Args:
        output: text that the quick start printed; None if it was not run.

    Raises:
        ValueError: no license is known.
    """
    card = own_card(upload.files.get("README.md"))
    card.data = complete_metadata(card.data, upload)
    before, _, rest = (card.text.strip() or f"# {upload.name}").partition(START)
    text = f"{before.rstrip()}\n\n{START}\n\n{write_section(upload, output)}\n\n{END}\n"
    after = rest.partition(END)[2].strip()
    return f"---\n{card.data.to_yaml()}\n---\n\n{text}" + (f"\n{after}\n" if after else "")


def own_card(readme: Path | None) -> ModelCard:
    """Return the owner's card; an empty one where there is none, or only a library's template."""
    text = readme.read_text(encoding="utf-8") if readme else ""
    return ModelCard("" if TEMPLATE_MARK in text else text, ignore_metadata_errors=True)


def complete_metadata(given: CardData, upload: Upload) -> ModelCardData:
    """Return the owner's metadata with the missing fields filled in.

    Raises:
        ValueError: no license is known.
    """
    known = {name: value for name, value in given.to_dict().items() if value is not None}
    license_name = upload.about.license or known.get("license")
    if not license_name:
        raise ValueError("No license is known; give --license, such as apache-2.0.")
    own = {
        "license": license_name,
        "library_name": upload.library or known.get("library_name", "transformers"),
        "pipeline_tag": known.get("pipeline_tag", "text-generation"),
        "tags": sorted({*known.get("tags", ()), *TAGS, *(["lora"] if upload.is_adapter else [])}),
        "datasets": list(upload.about.datasets) or known.get("datasets"),
    }
    base = upload.about.base_model or known.get("base_model")
    if base:
        relation = "adapter" if upload.is_adapter else known.get("base_model_relation", upload.about.relation)
        own |= {"base_model": base, "base_model_relation": relation}
    if "results.json" in upload.files:
        own |= {"model_name": upload.name, "eval_results": read_results(upload.files["results.json"])}
        known.pop("model-index", None)
    return ModelCardData(**{**known, **{name: value for name, value in own.items() if value}})


def read_results(file: Path) -> list[EvalResult]:
    """Return the rows of an evaluation, {"results": [{"system", "answers_right", ...}]}, one result per metric."""
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


def write_section(upload: Upload, output: str | None) -> str:
    """Return the section that every push writes: quick start with its output, fields, memory, limits, code."""
    paragraphs = [f"## Quick start\n\n```python\n{quick_start(upload.repo, upload)}```"]
    if output is not None:
        paragraphs.append(f"It prints:\n\n```\n{output}\n```")
    if "generation_config.json" in upload.files:
        paragraphs.append(f"## Decoding\n\nFields of `generate`, and their values here:\n\n{field_table(upload)}")
    paragraphs.append(f"## Memory\n\n{memory_table(upload.config)}")
    positions = upload.config.get_text_config().max_position_embeddings
    paragraphs.append("## Limits\n\n" + LIMITS.format(positions=positions))
    code_files = {name: file for name, file in sorted(upload.files.items()) if name.endswith(".py")}
    if code_files:
        listed = "\n".join(f"{sha256(file.read_bytes()).hexdigest()}  {name}" for name, file in code_files.items())
        paragraphs.append(f"## Code\n\nSHA-256, as `sha256sum --check` reads it:\n\n```\n{listed}\n```")
    return "\n\n".join(paragraphs)


def field_table(upload: Upload) -> str:
    """Return a table of fields of `generate`, the checkpoint's values and their meaning."""
    values = json.loads(upload.files["generation_config.json"].read_text(encoding="utf-8"))
    values["span_attention"] = values.get("span_attention") or upload.config.span_attention
    meanings = {name: field.meaning for name, field in (FIELDS | SHARED_FIELDS).items()}
    rows = [f"| `{name}` | {values.get(name)} | {meanings[name]} |" for name in CARD_FIELDS]
    return "| field | value | meaning |\n|---|---|---|\n" + "\n".join(rows)


def memory_table(config: PlannedDiffusionConfig) -> str:
    """Return the memory of weights and cache as a sentence and a table."""
    memory = memory_of(config)
    rows = [f"| {name} | {readable(size)} |" for name, size in memory.weights.items()]
    cache = readable(1000 * memory.cache_per_token)
    return (
        f"{memory.parameters / 1e6:,.1f} M parameters; keys and values take {cache} per 1,000 tokens "
        "(bfloat16).\n\n| weights as | memory |\n|---|---|\n" + "\n".join(rows)
    )


def quick_start(source: str, upload: Upload) -> str:
    """Return the card's program, loading from `source`; without a chat template the prompt is not made a message.

    transformers would look for an adapter's `revision` in its base model as well, so adapters get none.
    """
    chats = "chat_template.jinja" in upload.files or upload.is_adapter
    inputs = (CHAT if chats else TEXT).format(prompt=quoted(upload.about.prompt))
    fields = upload.files.get("generation_config.json")
    samples = fields is not None and json.loads(fields.read_text(encoding="utf-8")).get("do_sample")
    base = upload.about.base_model
    return QUICK_START.format(
        repo=quoted(source),
        revision=f", revision={quoted(upload.tag)}" if upload.tag and not upload.is_adapter else "",
        tokenizer="repo" if "tokenizer.json" in upload.files or not base else quoted(base),
        inputs=inputs,
        greedy=", do_sample=False" if samples else "",
    )


def quoted(text: str) -> str:
    """Return a string as Python and JSON write it."""
    return json.dumps(text, ensure_ascii=False)


def run_quick_start(folder: Path, upload: Upload) -> str:
    """Run the card's program on the folder, in an interpreter of its own, and return what it prints.

    Raises:
        ValueError: it fails.
    """
    code = quick_start(str(folder), replace(upload, tag=None))
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
