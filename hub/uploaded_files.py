"""Choose the files of a folder that are sent to the Hub, and prepare those of an adapter."""

import json
from collections.abc import Callable
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id

from ..loading.adapter_base import PLACE, RECORD, named_base
from ..loading.locate import is_path
from ..loading.tokenizer_origin import ORIGIN
from .card import About
from .flat import flat_code

NAMED_TEMPLATES = "additional_chat_templates/*.jinja"
UPLOADED = (
    "config.json", "generation_config.json", "*.safetensors", "*.safetensors.index.json", "adapter_config.json", RECORD,
    "tokenizer.json", "tokenizer_config.json", "tokenizer.model", "vocab.json", "merges.txt", "added_tokens.json",
    "special_tokens_map.json", "chat_template.jinja", NAMED_TEMPLATES, "README.md", "results.json", "LICENSE",
)  # fmt: skip
NOT_OF_ADAPTERS = ("config.json", "model*.safetensors*", "*.py")


def check_name(repo: str) -> None:
    """Raise ValueError unless `repo` reads owner/name."""
    try:
        validate_repo_id(repo)
    except HFValidationError as error:
        raise ValueError(f"{repo!r} is no name of a repository; give owner/name.") from error
    if repo.count("/") != 1:
        raise ValueError(f"{repo!r} has no owner; give owner/name.")


def wanted_files(folder: Path) -> dict[str, Path]:
    """Return the files of a folder that belong to a checkpoint, by their names in the repository."""
    found = [*folder.glob("*"), *folder.glob(NAMED_TEMPLATES)]
    names = {file.relative_to(folder).as_posix(): file for file in found if file.is_file()}
    return {name: file for name, file in sorted(names.items()) if is_wanted(name)}


def is_wanted(name: str) -> bool:
    """Return whether a file belongs to a checkpoint; optimizer states, logs and the like do not."""
    return name in flat_code() or any(fnmatch(name, pattern) for pattern in UPLOADED)


def base_model(folder: Path, about: About) -> str:
    """Return the repository of an adapter's base model.

    Raises:
        ValueError: the adapter names no base, or a folder, which nobody else can load.
    """
    base = about.base_model or named_base(folder / "adapter_config.json")
    if base is None:
        raise ValueError(f"The adapter in {folder} names no base model; give --base-model owner/name.")
    if not about.base_model and (is_path(base) or Path(base).exists()):
        raise ValueError(f"The adapter's base model is the folder {base!r}; give --base-model owner/name.")
    check_name(base)
    return base


def adapter_files(folder: Path, base: str, workshop: Path) -> Path:
    """Copy an adapter's files into the workshop, with the name of its base model; return the folder."""
    if not (folder / "adapter_model.safetensors").is_file():
        raise ValueError(f"{folder} holds no adapter_model.safetensors; save the adapter in safetensors.")
    copy = workshop / "adapter"
    for name, file in wanted_files(folder).items():
        if not any(fnmatch(name, pattern) for pattern in NOT_OF_ADAPTERS):
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            (copy / name).write_bytes(file.read_bytes())
    change_json(copy / "adapter_config.json", lambda stored: {**stored, "base_model_name_or_path": base})
    if (copy / RECORD).is_file():
        change_json(copy / RECORD, lambda stored: {name: value for name, value in stored.items() if name != PLACE})
    if (copy / "tokenizer_config.json").is_file():
        change_json(
            copy / "tokenizer_config.json",
            lambda stored: {name: value for name, value in stored.items() if name not in ORIGIN},
        )
    return copy


def change_json(file: Path, change: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    """Replace the object in a JSON file by another one."""
    changed = change(json.loads(file.read_text(encoding="utf-8")))
    file.write_text(json.dumps(changed, indent=2, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8")
