"""Find the checkpoint that an adapter was trained on, and make sure that it is that one.

`adapter_config.json` names the base, as PEFT writes it. Beside it our training leaves RECORD: where the base lies as
seen from the adapter's folder, so that both can move together, or its name, if it is a base by name (bases.py), and a
hash of its weights. Adapters without it load too.
"""

import hashlib
import json
import math
import os
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import snapshot_download
from safetensors import safe_open
from transformers.utils.hub import cached_file
from transformers.utils.import_utils import is_peft_available
from transformers.utils.peft_utils import find_adapter_config_file

from ..checkpoint_planned_diffusion import CheckpointError
from .bases import BASES, Base, base_of_folder, cache_folder, conversion_of, converted
from .embedded import holds_checkpoint
from .json_object import read_object
from .locate import REPOSITORY, is_path

AGAIN = "save the adapter again"
KEY = "base_model_name_or_path"
RECORD, PLACE, NAME = "adapter_base.json", "relative_path", "base"
WEIGHTS = "*.safetensors"
SAMPLED_ROWS, SMALL = 16, 1 << 16  # numbers in a tensor that is read whole


def base_of(source: str) -> str | None:
    """Return the checkpoint that an adapter (LoRA) was trained on, maybe an adapter too; None for a whole checkpoint.

    A relative path is looked up from the adapter's folder and those above it, never from the current folder.

    Raises:
        ValueError: an adapter without a base, one whose base is not there, or PEFT is not installed.
    """
    file = find_adapter_config_file(source)
    if file is None:
        return None
    if not is_peft_available():
        raise ValueError("it is an adapter, which needs PEFT (pip install peft)")
    name = named_base(Path(file))
    if name is None:
        raise CheckpointError(
            f"{source} is an adapter whose adapter_config.json names no base model ({KEY}); write the path or Hub "
            "repository of its base there."
        )
    found = _folder_of(source, name)
    if found is not None:
        return found
    by_name = base_by_name(source)
    if by_name is not None:
        try:
            return str(conversion_of(by_name, Path(name).name))
        except ValueError as error:
            raise CheckpointError(f"{source} is an adapter of {by_name.name}, which {by_name.missing}") from error
    if _is_folder_name(source, name):
        raise CheckpointError(
            f"{source} cannot be loaded: it is an adapter of {name}, and there is no such checkpoint; put it back, or "
            f"write its path or Hub repository as {KEY} into adapter_config.json."
        )
    return name


def is_adapter(source: str) -> bool:
    """Return whether a folder or Hub repository holds an adapter."""
    return find_adapter_config_file(source) is not None


def base_by_name(source: str) -> Base | None:
    """Return the base by name that an adapter was trained on, wherever it lay then; None where it was another."""
    name = recorded(source).get(NAME)
    if isinstance(name, str):
        return BASES.get(name)
    file = find_adapter_config_file(source)
    path = None if file is None else named_base(Path(file))
    return None if path is None else base_of_folder(path)


def base_to_bring(source: str) -> Base | None:
    """Return the base by name below an adapter, where it has to be converted first; None where it has not."""
    file = find_adapter_config_file(source)
    name = None if file is None else named_base(Path(file))
    if name is None:
        return None
    folder = _folder_of(source, name)
    if folder is not None:
        return base_to_bring(folder)
    base = base_by_name(source)
    return None if base is None or converted(base) else base


def named_base(file: Path) -> str | None:
    """Return the base that an adapter_config.json names; None where it names none.

    Raises:
        CheckpointError: a file that is no JSON object.
    """
    name = read_object(file, AGAIN).get(KEY)
    return name if isinstance(name, str) and name.strip() else None


def _folder_of(source: str, name: str) -> str | None:
    """Return the folder of an adapter's base, looked up from the adapter's folder; None where there is none."""
    folder, named = Path(source).resolve(), Path(name).expanduser()
    if not folder.is_dir():  # an adapter on the Hub: the paths of whoever saved it mean nothing here
        return None
    beside = recorded(str(folder)).get(PLACE)
    candidates = [above / named for above in (folder, *folder.parents)]  # an absolute path is the same in all of them
    candidates += [folder / beside] if isinstance(beside, str) else []
    found = next((path for path in candidates if holds_checkpoint(path)), None)
    return None if found is None else os.path.normpath(found)


def _is_folder_name(source: str, name: str) -> bool:
    """Tell whether the name of a base that is nowhere was meant as a path: not one of the Hub, or in a folder here."""
    if is_path(name) or not REPOSITORY.fullmatch(name):
        return True
    folder = Path(source).resolve()
    return folder.is_dir() and any((above / Path(name).parent).is_dir() for above in (folder, *folder.parents))


def recorded(source: str) -> dict[str, Any]:
    """Return the content of an adapter's RECORD; nothing where it has none."""
    try:
        file = cached_file(source, RECORD, _raise_exceptions_for_missing_entries=False)
    except OSError:
        file = None
    return {} if file is None else read_object(Path(file), AGAIN)


def record_base(adapter: Path, base: str) -> None:
    """Write into an adapter's folder where its base lies, if that is a folder, and the hash of its weights."""
    record: dict[str, Any] = {"weights_sha256": hash_of_weights(_fetched(base))}
    by_name = base_of_folder(base)
    if by_name is not None and Path(base).resolve().parent == cache_folder().resolve():
        record[NAME] = by_name.name
    elif Path(base).is_dir():
        record[PLACE] = Path(os.path.relpath(Path(base).resolve(), adapter.resolve())).as_posix()
    (adapter / RECORD).write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


def check_base(source: str, base: str) -> None:
    """Refuse a base with other weights than those that an adapter was trained on, where its folder has their hash.

    Raises:
        CheckpointError: names both.
    """
    expected = recorded(source).get("weights_sha256")
    if expected is None:
        return
    if hash_of_weights(_fetched(base)) != expected:
        raise CheckpointError(
            f"{source} is an adapter of {base}, whose weights are no longer those that it was trained on; put those "
            f"back, or train the adapter again ({RECORD} has their hash)."
        )


def _fetched(base: str) -> Path:
    """Return the folder of a base that has been loaded: its own, or that of the Hub's cache."""
    is_folder = Path(base).is_dir()
    return Path(base if is_folder else snapshot_download(base, allow_patterns=WEIGHTS, local_files_only=True))


def hash_of_weights(folder: Path) -> str:
    """Return the SHA-256 of all tensors by name, type, shape and bytes; how they are spread over files is no matter.

    An adapter has tensors of its own; loading it checks its base. SAMPLED_ROWS rows stand for a larger tensor, from the
    first to the last: some megabytes are read of any model. Another model, another type and training of all weights
    change them.
    """
    lines = []
    for file in folder.glob("adapter_model*.safetensors" if is_adapter(str(folder)) else "model*.safetensors"):
        with safe_open(file, "pt") as stored:
            for name in stored.keys():  # noqa: SIM118
                part = stored.get_slice(name)
                lines.append(f"{name} {part.get_dtype()} {part.get_shape()} {_hash_of_rows(stored, name)}\n")
    return hashlib.sha256("".join(sorted(lines)).encode()).hexdigest()


def _hash_of_rows(stored: Any, name: str) -> str:  # noqa: ANN401  # safetensors does not export the type
    part, shape = stored.get_slice(name), stored.get_slice(name).get_shape()
    if math.prod(shape) <= SMALL or shape[0] <= SAMPLED_ROWS:
        rows = [stored.get_tensor(name)]
    else:
        rows = [part[row] for row in (index * (shape[0] - 1) // (SAMPLED_ROWS - 1) for index in range(SAMPLED_ROWS))]
    digest = hashlib.sha256()
    for row in rows:
        digest.update(row.contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()
