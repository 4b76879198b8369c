"""The folder of a run: what may be written into it, and the checkpoint in it from which a run goes on.

A checkpoint is whole if `trainer_state.json`, which the Trainer writes last, can be read, and all weights and states
beside it are as long as they say; a process that is killed while it saves leaves one that is not.
"""

import json
import re
import sys
import tempfile
import zipfile
from pathlib import Path

from safetensors import SafetensorError, safe_open
from trl import SFTConfig

RESULTS = ("config.json", "adapter_config.json", "*.safetensors", "pytorch_model*.bin")
_WEIGHTS = re.compile(r"(model|pytorch_model|adapter_model).*\.(safetensors|bin)")
_CHECKPOINT = re.compile(r"checkpoint-(\d+)")


def check_output_folder(folder: str, model: str | None, checkpoint: str | None) -> None:
    """Refuses to write over a model: over the one that is trained, and over the results of an earlier run.

    Args:
        folder: `output_dir`.
        model: what is trained, None from scratch.
        checkpoint: from which the run goes on; what lies beside it is that run's own.

    Raises:
        ValueError: a file or a folder that cannot be written, the model's own folder, or results of an earlier run.
    """
    out = Path(folder)
    existing = next(path for path in (out.absolute(), *out.absolute().parents) if path.exists())
    try:
        tempfile.TemporaryFile(dir=existing).close()
    except OSError as error:
        raise ValueError(
            f"output_dir {folder} cannot be written ({existing}: {error.strerror}); give another output_dir."
        ) from error
    if model is not None and Path(model).is_dir() and Path(model).resolve() == out.resolve():
        raise ValueError(f"output_dir {folder} is the folder of the model, which would be lost; give another one.")
    if checkpoint is not None and Path(checkpoint).resolve().parent == out.resolve():
        return
    whole = [path.name for path in checkpoints(folder) if fault_of(path) is None]
    results = [path.name for pattern in RESULTS for path in out.glob(pattern)] + whole
    if results:
        going_on = ", or go on from its last checkpoint with resume_from_checkpoint: true" if whole else ""
        raise ValueError(
            f"output_dir {folder} holds {results[0]} of an earlier run; give another output_dir or delete that "
            f"one{going_on}."
        )


def checkpoint_to_resume(args: SFTConfig) -> str | None:
    """The checkpoint folder that `resume_from_checkpoint` means; None to begin anew.

    A path is that checkpoint, "true" the newest whole one of `output_dir`, "auto" the same if there is one.

    Raises:
        ValueError: there is none, or none is whole.
    """
    asked = str(args.resume_from_checkpoint or "false")
    if asked.lower() == "false":
        return None
    if asked.lower() not in ("true", "auto"):
        return _named(asked)
    torn = {}
    for path in checkpoints(args.output_dir):
        fault = fault_of(path)
        if fault is None:
            _tell_of(torn, args, f"resuming from {path}")
            return str(path)
        torn[path] = fault
    if asked.lower() == "auto":
        _tell_of(torn, args, "beginning anew")
        return None
    if torn:
        raise ValueError(
            f"No checkpoint in {args.output_dir} is whole ({_listed(torn)}); delete them and leave "
            "resume_from_checkpoint out to begin anew."
        )
    raise _nothing_in(args.output_dir)


def _named(path: str) -> str:
    if not Path(path).is_dir():
        raise _nothing_in(path)
    fault = fault_of(Path(path))
    if fault is not None:
        raise ValueError(f"The checkpoint {path} is not whole ({fault}); resume from an earlier one.")
    return path


def _nothing_in(folder: str) -> ValueError:
    return ValueError(
        f"There is no checkpoint to resume from in {folder}; leave resume_from_checkpoint out to begin anew."
    )


def _tell_of(torn: dict[Path, str], args: SFTConfig, consequence: str):
    if torn and args.process_index == 0:
        print(f"warning: skipped what is not whole ({_listed(torn)}); {consequence}.", file=sys.stderr)


def _listed(torn: dict[Path, str]) -> str:
    return "; ".join(f"{path.name}: {fault}" for path, fault in torn.items())


def checkpoints(folder: str) -> list[Path]:
    """The checkpoint folders of a run, the newest first."""
    found = [path for path in Path(folder).glob("checkpoint-*") if path.is_dir() and _CHECKPOINT.fullmatch(path.name)]
    return sorted(found, key=lambda path: -int(_CHECKPOINT.fullmatch(path.name)[1]))


def fault_of(checkpoint: Path) -> str | None:
    """What a torn checkpoint lacks; None if it is whole. Reads headers, not weights."""
    for name in ("trainer_state.json", *(path.name for path in checkpoint.glob("*.index.json"))):
        try:
            content = json.loads((checkpoint / name).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return f"{name} is missing or broken"
        shards = sorted(set(content.get("weight_map", {}).values()))
        absent = [shard for shard in shards if not (checkpoint / shard).is_file()]
        if absent:
            return f"{absent[0]} is missing"
    files = [path for path in checkpoint.rglob("*") if path.is_file()]
    broken = [path for path in files if not _is_readable(path)]
    if broken:
        return f"{broken[0].relative_to(checkpoint)} is cut off"
    if not any(path.suffix == ".distcp" or _WEIGHTS.fullmatch(path.name) for path in files):
        return "its weights are missing"
    return None


def _is_readable(path: Path) -> bool:
    """Whether a file of tensors is as long as it says; other files are taken as they are."""
    if path.suffix in (".pt", ".pth", ".bin"):
        return zipfile.is_zipfile(path)  # the table of contents stands at the end
    if path.suffix == ".distcp":
        return (path.parent / ".metadata").is_file()  # written after all shards
    if path.suffix != ".safetensors":
        return True
    try:
        with safe_open(path, "pt"):
            return True
    except (SafetensorError, OSError):
        return False
