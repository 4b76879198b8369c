"""Find the changes that pushing a checkpoint would make on the Hub; nothing is sent here.

1. files     an export as it is; any other checkpoint is exported into a temporary folder first; an adapter's own files
2. card      its program is run on those files
3. compare   with the files of the repository
"""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from huggingface_hub import HfApi, ModelInfo, get_token
from huggingface_hub.errors import HFValidationError, RepositoryNotFoundError
from huggingface_hub.hf_api import RepoSibling
from huggingface_hub.utils import validate_repo_id

from ..configuration_planned_diffusion import PlannedDiffusionConfig
from ..loading.tokenizer_origin import ORIGIN
from .card import About, Upload, run_quick_start, write_card
from .export import export, is_export
from .flat import AUTO_MAP, flat_code, is_flat_code

NAMED_TEMPLATES = "additional_chat_templates/*.jinja"
UPLOADED = (
    "config.json", "generation_config.json", "*.safetensors", "*.safetensors.index.json", "adapter_config.json",
    "tokenizer.json", "tokenizer_config.json", "tokenizer.model", "vocab.json", "merges.txt", "added_tokens.json",
    "special_tokens_map.json", "chat_template.jinja", NAMED_TEMPLATES, "README.md", "results.json", "LICENSE",
)  # fmt: skip
NOT_OF_ADAPTERS = ("config.json", "generation_config.json", "model*.safetensors*", "*.py")
# Files that are removed from the Hub, as code is, where they are no longer here.
REPLACED = ("*.safetensors", "*.safetensors.index.json", NAMED_TEMPLATES)


@dataclass(frozen=True)
class Choices:
    """The choices of a push.

    Attributes:
        private: visibility of a repository that is made; an existing one keeps its own.
        tag: name of a revision to set on the pushed commit.
        run_card: run the card's program, and show in the card what it prints.
    """

    private: bool = True
    tag: str | None = None
    run_card: bool = True


@dataclass(frozen=True)
class Proposal:
    """The changes that a push would make.

    Attributes:
        files: all that the repository is to hold: name -> file or content.
        changed, removed, unchanged: names.
        is_new, private: whether the repository is made, and whether it is private.
        notes: remarks for the user.
    """

    repo: str
    files: dict[str, Path | bytes]
    changed: tuple[str, ...]
    removed: tuple[str, ...]
    unchanged: tuple[str, ...]
    is_new: bool
    private: bool
    notes: tuple[str, ...]


def check_name(repo: str) -> None:
    """Raise ValueError unless `repo` reads owner/name."""
    try:
        validate_repo_id(repo)
    except HFValidationError as error:
        raise ValueError(f"{repo!r} is no name of a repository; give owner/name.") from error
    if repo.count("/") != 1:
        raise ValueError(f"{repo!r} has no owner; give owner/name.")


def propose(source: str, repo: str, about: About, choices: Choices, workshop: Path) -> Proposal:
    """Return the changes that pushing a folder would make; `workshop` is an empty folder for temporary files.

    Raises:
        ValueError: a name, folder, license or base model that cannot be used, or a card whose program fails.
        RuntimeError: the Hub shows the repository only to those who log in.
    """
    check_name(repo)
    # 1. Files
    folder = Path(source).expanduser()
    if not folder.is_dir():
        raise ValueError(f"There is no folder {source}; push the folder of a checkpoint or of a LoRA adapter.")
    notes, whole_model = (), folder
    if (folder / "adapter_config.json").is_file():
        base = base_model(folder, about)
        about = replace(about, base_model=base)
        folder = adapter_files(folder, base, workshop)
        whole_model = Path(HfApi().hf_hub_download(base, "config.json", cache_dir=workshop / "base")).parent
    elif not is_current(folder):
        exported = export(str(folder), workshop / "export")
        folder, notes = exported.folder, exported.notes
    files = wanted_files(folder)
    # 2. Card
    config = PlannedDiffusionConfig.from_pretrained(whole_model)
    upload = Upload(repo, files, config, about, choices.tag)
    output = run_quick_start(folder, upload) if choices.run_card else None
    # 3. Compare
    return compare(repo, {**files, "README.md": write_card(upload, output).encode()}, choices.private, notes)


def wanted_files(folder: Path) -> dict[str, Path]:
    """Return the files of a folder that belong to a checkpoint, by their names in the repository."""
    found = [*folder.glob("*"), *folder.glob(NAMED_TEMPLATES)]
    names = {file.relative_to(folder).as_posix(): file for file in found if file.is_file()}
    return {name: file for name, file in sorted(names.items()) if is_wanted(name)}


def is_wanted(name: str) -> bool:
    """Return whether a file belongs to a checkpoint; optimizer states, logs and the like do not."""
    return name in flat_code() or any(fnmatch(name, pattern) for pattern in UPLOADED)


def is_current(folder: Path) -> bool:
    """Return whether `export` would write the same code and the same defaults into a folder."""
    if not is_export(folder):
        return False

    def stored(name: str) -> dict:
        return json.loads((folder / name).read_text(encoding="utf-8")) if (folder / name).is_file() else {}

    prepared = stored("config.json").get("auto_map") == AUTO_MAP
    prepared &= stored("generation_config.json").get("do_sample") is not None
    prepared &= stored("tokenizer_config.json").get("padding_side") == "left"
    prepared &= not stored("tokenizer_config.json").keys() & set(ORIGIN)
    return prepared and all(
        (folder / name).is_file() and (folder / name).read_bytes() == content for name, content in flat_code().items()
    )


def base_model(folder: Path, about: About) -> str:
    """Return the repository of an adapter's base model.

    Raises:
        ValueError: the adapter names a folder, which nobody else can load.
    """
    stored = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
    base = about.base_model or stored.get("base_model_name_or_path") or ""
    if not about.base_model and Path(base).exists():
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


def compare(repo: str, files: dict[str, Path | bytes], private: bool, notes: tuple[str, ...]) -> Proposal:
    """Return the differences between these files and those of the repository.

    Raises:
        RuntimeError: the Hub shows no such repository, and nobody is logged in.
    """
    info = find_repository(repo)
    if info is None:
        return Proposal(repo, files, tuple(files), (), (), is_new=True, private=private, notes=notes)
    present = {file.rfilename: file for file in info.siblings or ()}
    unchanged = tuple(name for name in files if name in present and is_equal(files[name], present[name]))
    if bool(info.private) != private:
        notes += (f"{repo} is {'private' if info.private else 'public'} and stays so; its settings change that.",)
    return Proposal(
        repo=repo,
        files=files,
        changed=tuple(name for name in files if name not in unchanged),
        removed=tuple(name for name in present if name not in files and is_replaced(name)),
        unchanged=unchanged,
        is_new=False,
        private=bool(info.private),
        notes=notes,
    )


def find_repository(repo: str) -> ModelInfo | None:
    """Return what the Hub says of a repository; None where it is to be made.

    Raises:
        RuntimeError: the Hub shows no such repository, and nobody is logged in.
    """
    try:
        return HfApi().model_info(repo, files_metadata=True)
    except RepositoryNotFoundError as error:
        if get_token() is None:
            raise RuntimeError(
                f"The Hub shows no {repo} to strangers, and there is no token; run hf auth login, or set HF_TOKEN."
            ) from error
        return None


def is_replaced(name: str) -> bool:
    """Return whether a file of the Hub is removed when a push does not contain it."""
    return is_flat_code(name) or any(fnmatch(name, pattern) for pattern in REPLACED)


def is_equal(here: Path | bytes, there: RepoSibling) -> bool:
    """Return whether a file of the Hub has this content, by its hash in git or LFS."""
    size = len(here) if isinstance(here, bytes) else here.stat().st_size
    if there.size is not None and there.size != size:
        return False
    if there.lfs is not None and isinstance(here, Path):
        with here.open("rb") as file:  # weights: never in memory as a whole
            return hashlib.file_digest(file, "sha256").hexdigest() == there.lfs.sha256
    content = here if isinstance(here, bytes) else here.read_bytes()
    if there.lfs is not None:
        return hashlib.sha256(content).hexdigest() == there.lfs.sha256
    return hashlib.sha1(b"blob %d\0" % size + content).hexdigest() == there.blob_id
