"""Read how a foreign checkpoint ends and samples its answers, as defaults of the converted one.

As in transformers, generation_config.json says it where it is there, and config.json where it is not. Ids that stand in
one of config.json, generation_config.json and the tokenizer only are taken from there.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import GenerationConfig, PreTrainedTokenizerBase

from ...generation.config import METADATA, PlannedDiffusionGenerationConfig
from ...generation.fields import SHARED_FIELDS
from ...generation.neutral_values import is_neutral
from ...loading.json_object import read_object
from .source_tokenizer import Vocabulary

FILE = "generation_config.json"
KEPT = ("max_new_tokens", "max_length", "max_time", "temperature", "top_k", "top_p", "stop_strings")
SPECIAL = ("bos", "eos", "pad")


@dataclass(frozen=True)
class SourceDefaults:
    """The fields of a checkpoint that concern generation.

    Attributes:
        fields: those of generation_config.json, or of config.json where there is no such file; None is left out.
        ids: name ("eos") -> ids that stand in either file, those of generation_config.json if in both.
        has_file: whether there is a generation_config.json.
    """

    fields: dict[str, Any]
    ids: dict[str, list[int]]
    has_file: bool


def read_defaults(folder: Path) -> SourceDefaults:
    """Return what a folder with a readable config.json says of generation.

    Raises:
        ValueError: a broken generation_config.json, or a special token that is no id.
    """
    config = _stored(folder / "config.json")
    has_file = (folder / FILE).is_file()
    fields = _stored(folder / FILE) if has_file else config
    ids = {}
    for name in SPECIAL:
        key = f"{name}_token_id"
        given = fields.get(key, config.get(key))
        ids[name] = [] if given is None else given if isinstance(given, list) else [given]
        for token in ids[name]:
            if type(token) is not int or token < 0:
                raise ValueError(f"The checkpoint's {key} is {given!r}, which is no token id; fetch its files anew.")
    return SourceDefaults(fields, ids, has_file)


def _stored(file: Path) -> dict[str, Any]:
    return {name: value for name, value in read_object(file, "fetch it anew").items() if value is not None}


def complete_tokenizer(tokenizer: PreTrainedTokenizerBase, defaults: SourceDefaults) -> None:
    """Give a tokenizer without EOS or padding token those of the checkpoint's files, as far as it has such tokens."""
    known = known_ids(tokenizer)
    for name in ("eos", "pad"):
        spellings = [known[token] for token in defaults.ids[name] if token in known]
        if getattr(tokenizer, f"{name}_token") is None and spellings:
            tokenizer.add_special_tokens({f"{name}_token": spellings[0]})


def known_ids(tokenizer: PreTrainedTokenizerBase) -> dict[int, str]:
    """Return the spelling of every id that a tokenizer has."""
    return {token: spelling for spelling, token in tokenizer.get_vocab().items()}


def converted_defaults(defaults: SourceDefaults, vocabulary: Vocabulary) -> PlannedDiffusionGenerationConfig:
    """Return greedy defaults: every id that ended an answer of the source still does, and its limits hold.

    Raises:
        ValueError: a value that cannot be used.
    """
    tokenizer = vocabulary.tokenizer
    usable = {name: [token for token in ids if is_usable(token, vocabulary)] for name, ids in defaults.ids.items()}
    eos_ids = list(dict.fromkeys([vocabulary.eos_token_id, *usable["eos"]]))
    kept = {name: defaults.fields[name] for name in KEPT if name in defaults.fields}
    for name, value in kept.items():
        try:
            SHARED_FIELDS[name].check(name, value)
        except ValueError as error:
            raise ValueError(f"The checkpoint's generation defaults cannot be used: {error}") from error
    return PlannedDiffusionGenerationConfig(
        do_sample=False,
        eos_token_id=eos_ids if len(eos_ids) > 1 else eos_ids[0],
        pad_token_id=(*usable["pad"], tokenizer.pad_token_id)[0],
        bos_token_id=(*usable["bos"], tokenizer.bos_token_id)[0],
        **kept,
    )


def is_usable(token: int, vocabulary: Vocabulary) -> bool:
    """Return whether an id was a token of the source: ids that no token had may now be those of new tags."""
    return token < vocabulary.rows and token not in vocabulary.added


def notes_on_defaults(defaults: SourceDefaults, vocabulary: Vocabulary) -> list[str]:
    """Return remarks on defaults of the source that the converted checkpoint does not have."""
    notes, fields = [], defaults.fields
    if fields.get("do_sample"):
        notes.append("The source samples by default; here answers are greedy unless do_sample is given.")
    theirs = GenerationConfig().__dict__.keys() - {*SHARED_FIELDS, *METADATA}
    lost = [f"{name}={fields[name]!r}" for name in sorted(theirs & fields.keys()) if not is_neutral(name, fields[name])]
    if lost:
        notes.append(f"These generation defaults of the source have no meaning here: {', '.join(lost)}.")
    strange = [str(token) for token in defaults.ids["eos"] if not is_usable(token, vocabulary)]
    if strange:
        notes.append(f"The source also names {', '.join(strange)} as EOS, which no token of its tokenizer has.")
    return notes
