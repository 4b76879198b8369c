"""`planned-diffusion export`: write a checkpoint as a folder that loads anywhere with `trust_remote_code=True`.

The folder holds weights in safetensors, the configuration with `auto_map`, decoding defaults, tokenizer, the flat code
(flat.py) and the owner's model card and results (carried.py). It is written beside its destination and renamed when it
is complete, so that no half-written folder is left behind.
"""

import os
import re
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from transformers import PreTrainedTokenizerBase
from transformers.dynamic_module_utils import check_imports, get_relative_import_files

from ..generation.tokens import SPELLING
from ..loading.adapter_base import base_of
from ..loading.load import load
from ..loading.stored_quantisation import check_unquantised
from ..loading.weights import naming, stored_config
from ..modeling_planned_diffusion import PlannedDiffusionForCausalLM
from ..records.chat_templates import DEFAULT, named_templates, tidy_templates
from ..records.escaping import escape_contents, save_tokenizer
from ..records.vocabulary import check_agreement
from .carried import carry_over
from .flat import AUTO_MAP, ExportError, flat_code, is_flat_code

SHARD_SIZE = "5GB"
GENERATION_MARK = re.compile(r"{%-?\s*generation\s*-?%}")
# Files of an earlier export that a later one replaces, also where it writes none of that name; beside the code.
_WRITTEN = re.compile(
    r"model(-\d{5}-of-\d{5})?\.safetensors|model\.safetensors\.index\.json|chat_template\.jinja"
    r"|draft_transition\.safetensors|additional_chat_templates|generation_config\.json"
)


@dataclass(frozen=True)
class Exported:
    """An exported folder: its path, the names of its files, sorted, and notes for the user."""

    folder: Path
    files: tuple[str, ...]
    notes: tuple[str, ...]


def export(source: str, out: str | Path, overwrite: bool = False, max_shard_size: str = SHARD_SIZE) -> Exported:
    """Write a checkpoint for the Hub; the same source gives the same bytes.

    Args:
        source: folder or Hub repository of a planned-diffusion checkpoint with its tokenizer, or of an adapter, which
            is merged into the weights of its base.
        out: folder that does not exist, is empty, or holds an earlier export. Other files beside an earlier export
            stay, also its model card, which may have been edited there; else that of `source` is carried over.
        overwrite: replace a checkpoint of any kind.
        max_shard_size: largest size of a weights file, as transformers writes it ("5GB").

    Raises:
        ValueError: no checkpoint that can be exported, weights that are stored quantised, tags that the tokenizer
            splits, `out` in use, or code that could not be loaded back.
    """
    out = Path(out).expanduser().absolute()
    check_destination(out, overwrite)
    with naming(source):
        base = base_of(source)
    check_unquantised(source, base, stored_config(base or source))
    model, tokenizer = load(source, merge=True)
    notes = set_pipeline_defaults(model, tokenizer)
    escape_contents(tokenizer)
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}.") as workshop:
        fresh = Path(workshop) / "export"
        model.save_pretrained(fresh, max_shard_size=max_shard_size)
        save_tokenizer(tokenizer, fresh)
        check_loadable(fresh)
        notes += carry_over(source, base, fresh, out)
        files = tuple(sorted(path.relative_to(fresh).as_posix() for path in fresh.rglob("*") if path.is_file()))
        put_in_place(out, fresh, Path(workshop) / "before")
    return Exported(out, files, notes)


def check_destination(out: Path, overwrite: bool) -> None:
    """Refuse to replace anything but an earlier export, or with `overwrite` another checkpoint."""
    if not out.exists():
        return
    if not out.is_dir():
        raise ValueError(f"{out} is a file; name a folder to export to.")
    if not any(out.iterdir()) or is_export(out):
        return
    if not (out / "config.json").is_file():
        raise ValueError(f"The folder {out} holds other files and no checkpoint; export to a folder of its own.")
    if not overwrite:
        raise ValueError(f"The folder {out} holds a checkpoint that is no export; give --overwrite to replace it.")


def is_export(folder: Path) -> bool:
    """Return whether a folder holds a checkpoint with flat code, of this version of the package or another."""
    code = {f"{reference.split('.')[0]}.py" for reference in AUTO_MAP.values()}
    return all((folder / name).is_file() for name in ("config.json", *code))


def set_pipeline_defaults(model: PlannedDiffusionForCausalLM, tokenizer: PreTrainedTokenizerBase) -> tuple[str, ...]:
    """Set the defaults that transformers' pipelines need, and return notes on those that cannot be set here.

    Raises:
        ValueError: tokenizer and configuration disagree, or a tag is not one special token.
    """
    check_agreement(tokenizer, model.config)
    ids = {spelling: getattr(model.config, field) for field, spelling in SPELLING.items()}
    plain = [spelling for spelling, token in ids.items() if tokenizer.decode([token], skip_special_tokens=True)]
    if plain:
        raise ValueError(
            f"The tokenizer has {', '.join(plain)} as ordinary tokens, so answers would show them; add them with "
            "add_tokens(..., special_tokens=True)."
        )
    tokenizer.padding_side = tokenizer.init_kwargs["padding_side"] = "left"  # saved are init_kwargs
    fields = model.generation_config
    assert fields is not None, "a model that generates has defaults"
    if fields.do_sample is None:
        fields.do_sample = False  # pipelines sample by default
    if fields.eos_token_id is None:
        fields.eos_token_id = model.config.eos_token_id
    if fields.pad_token_id is None:
        fields.pad_token_id = tokenizer.pad_token_id
    tidy_templates(tokenizer)
    return notes_on_templates(named_templates(tokenizer))


def notes_on_templates(named: dict[str, str]) -> tuple[str, ...]:
    """Return notes on chat templates, by name, that pipelines, servers or trainers cannot use."""
    if not named:
        return ("The tokenizer has no chat template: pipelines and servers cannot take messages.",)
    if DEFAULT not in named:
        names = ", ".join(sorted(named))
        return (f"None of the chat templates {names} is the default: pipelines and servers cannot take messages.",)
    if not GENERATION_MARK.search(named[DEFAULT]):
        return ("The chat template has no {% generation %} marks: trainers cannot tell the answers' tokens.",)
    return ()


def check_loadable(folder: Path) -> None:
    """Check that the loader of transformers finds every file and library that the code in a folder imports.

    Raises:
        ExportError: a file is missing.
    """
    for reference in set(AUTO_MAP.values()):
        entry = folder / f"{reference.split('.')[0]}.py"
        missing = [file for file in get_relative_import_files(entry) if not Path(file).is_file()]
        if missing:
            raise ExportError(f"{entry.name} imports {Path(missing[0]).name}, which was not written.")
    for name in flat_code():
        check_imports(folder / name)


def put_in_place(out: Path, fresh: Path, before: Path) -> None:
    """Move `fresh` to `out` with the files of `out` that no export writes, and the former `out` to `before`."""
    if not out.exists():
        os.rename(fresh, out)
        return
    for item in out.iterdir():
        if (fresh / item.name).exists() or _WRITTEN.fullmatch(item.name) or is_flat_code(item.name):
            continue
        copy = shutil.copytree if item.is_dir() else shutil.copy2
        copy(item, fresh / item.name)
    os.rename(out, before)
    try:
        os.rename(fresh, out)
    except BaseException:
        os.rename(before, out)
        raise
