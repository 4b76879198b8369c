"""Report a conversion: a table for people, JSON for programs, and a first model card."""

import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from huggingface_hub import ModelCard, ModelCardData

from ...generation.tokens import SPELLING
from ...records.chat_templates import DEFAULT, named_templates
from .source_config import ForeignConfig
from .source_tokenizer import Vocabulary

INHERITED = ("license", "license_name", "license_link", "language")


@dataclass(frozen=True)
class Converted:
    """The result of a conversion, for people to check."""

    source: str
    out: str
    model_type: str
    tokens: dict[str, int | list[int]]  # spelling -> id
    added: list[str]  # the spellings that are new
    rows: tuple[int, int]  # of embedding and head, before and after
    rows_set: int  # rows of new tokens
    tokens_per_length_unit: int
    span_attention: str
    span_separator: str
    repeat_promises: bool
    chat_template: str
    dtypes: list[str]
    shards: int
    gigabytes: float
    notes: list[str]

    def table(self) -> list[tuple[str, str]]:
        """Return the lines of a table with two columns."""
        before, after = self.rows
        grown = "not resized" if before == after else f"resized from {before:,}"
        lines = [("model_type", f"{self.model_type} -> planned_diffusion")]
        lines += [(name, f"{ids}{' (added)' if name in self.added else ''}") for name, ids in self.tokens.items()]
        lines += [
            ("rows", f"{after:,}, {grown}; {self.rows_set} initialised"),
            ("length unit", f"{self.tokens_per_length_unit} tokens"),
            ("span attention", self.span_attention),
            ("separator", repr(self.span_separator)),
            ("promises", "repeated in spans" if self.repeat_promises else "in the plan only"),
            ("chat template", self.chat_template),
            ("weights", f"{', '.join(self.dtypes)}; {self.shards} files, {self.gigabytes:.2f} GB"),
            *(("note", note) for note in self.notes),
        ]
        return lines

    def as_json(self) -> dict[str, Any]:
        """Return the fields as JSON writes them."""
        return asdict(self)


def ids_by_spelling(vocabulary: Vocabulary) -> dict[str, int | list[int]]:
    """Return the ids of the control tokens by their spelling."""
    ids = dict(vocabulary.ids)
    tokenizer = vocabulary.tokenizer
    names = {"mask_token_id": str(tokenizer.mask_token), **SPELLING, "eos_token_id": str(tokenizer.eos_token)}
    return {spelling: ids[name] for name, spelling in names.items()} | {"0 ... 9": ids["digit_token_ids"]}


def notes_on(foreign: ForeignConfig, vocabulary: Vocabulary) -> list[str]:
    """Return remarks on limits of the converted checkpoint."""
    notes = []
    if vocabulary.added:
        notes.append("Some tags are new to these weights: train before you expect plans (planned-diffusion train).")
    named = named_templates(vocabulary.tokenizer)
    if DEFAULT not in named:
        notes.append(f"None of the chat templates {', '.join(sorted(named))} is the default; name one so before use.")
    elif vocabulary.chat_template == "kept" and not re.search(r"{%-?\s*generation\b", named[DEFAULT]):
        notes.append("The chat template has no {% generation %} marks; trainers that want them need your own.")
    if "sliding_attention" in (getattr(foreign.backbone, "layer_types", None) or ()):
        window = getattr(foreign.backbone, "sliding_window", None)
        notes.append(f"Some layers see {window} tokens: prompt and answer must fit in there.")
    return notes


def first_card(folder: Path, source: str, is_repository: bool, notes: list[str]) -> str:
    """Return a README.md with the source's name and license; `planned-diffusion push` completes it.

    A local folder is unknown to others, so the base model of its own card is kept, if it has one.
    """
    readme = folder / "README.md"
    text = readme.read_text(encoding="utf-8") if readme.is_file() else ""
    known = ModelCard(text, ignore_metadata_errors=True).data.to_dict()
    fields = {name: known[name] for name in INHERITED if known.get(name)}
    base = source if is_repository else known.get("base_model")
    if base:
        fields |= {"base_model": base}
    name = source if is_repository else Path(source).name
    says = "\n".join(["Converted for planned diffusion from " + name + ".", *notes])
    return f"---\n{ModelCardData(**fields).to_yaml()}\n---\n\n{says}\n" if fields else f"{says}\n"
