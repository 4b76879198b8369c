"""Find the changes that pushing a checkpoint would make on the Hub; nothing is sent here.

1. files     an export as it is; any other checkpoint is exported into a temporary folder first; an adapter's own files
2. card      its program is run on those files
3. compare   with the files of the repository
"""

import hashlib
import json
from dataclasses import dataclass, replace
from fnmatch import fnmatch
from pathlib import Path

from huggingface_hub import HfApi, ModelInfo, get_token
from huggingface_hub.errors import RepositoryNotFoundError
from huggingface_hub.hf_api import RepoSibling

from ..configuration_planned_diffusion import PlannedDiffusionConfig
from ..loading.tokenizer_origin import ORIGIN
from .card import About, Upload, run_quick_start, write_card
from .export import export, is_export
from .flat import AUTO_MAP, flat_code, is_flat_code
from .uploaded_files import NAMED_TEMPLATES, adapter_files, base_model, check_name, wanted_files

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
