"""The folder of a run: whether it may be written into, and the checkpoint in it from which a run resumes.

A checkpoint is whole if `trainer_state.json`, which the Trainer writes last, can be read, and all files of weights and
states beside it have the length that their headers give; a process that is killed while it saves leaves a torn one. A
run resumes from a whole one that also holds the states of optimizer, scheduler and random numbers: without them it
would go on, but end with other weights than an uninterrupted run.
"""

import json
import re
import sys
import tempfile
import zipfile
from pathlib import Path

from safetensors import SafetensorError, safe_open
from trl.trainer.sft_config import SFTConfig

RESULTS = ("config.json", "adapter_config.json", "*.safetensors", "pytorch_model*.bin")
_WEIGHTS = re.compile(r"(model|pytorch_model|adapter_model).*\.(safetensors|bin)")
_CHECKPOINT = re.compile(r"checkpoint-(\d+)")
# Names that the Trainer gives to files and folders of a state, under FSDP and DeepSpeed too -> the state.
_STATES = {
    ("optimizer.pt", "optimizer.bin", "optimizer*/", "global_step*/"): "optimizer state, as with save_only_model",
    ("scheduler.pt",): "scheduler state",
    ("rng_state*.pth",): "state of the random numbers",
}
_FROM_WEIGHTS = "to train on from its weights alone, begin a new run with its folder as model and another output_dir"


def check_output_folder(folder: str, model: str | None, checkpoint: str | None) -> None:
    """Refuse to write over a model: the model that is trained, or the results of an earlier run.

    Args:
        folder: `output_dir`.
        model: the model that is trained; None from scratch.
        checkpoint: the checkpoint that is resumed; files beside it belong to the same run.

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
    going_on = ""
    if any(missing_state(Path(folder) / name) is None for name in whole):
        going_on = ", or go on from its last checkpoint with resume_from_checkpoint: true"
    results = [path.name for pattern in RESULTS for path in out.glob(pattern)] + whole
    if results:
        raise ValueError(
            f"output_dir {folder} holds {results[0]} of an earlier run; give another output_dir or delete that "
            f"one{going_on}."
        )


def checkpoint_to_resume(args: SFTConfig) -> str | None:
    """Return the checkpoint folder that `resume_from_checkpoint` means; None to begin anew.

    A path means that checkpoint, "true" the newest in `output_dir` that can be resumed, "auto" the same if there is
    one.

    Raises:
        ValueError: there is none, or none can be resumed.
    """
    asked, folder = str(args.resume_from_checkpoint or "false"), str(args.output_dir)
    if asked.lower() == "false":
        return None
    if asked.lower() not in ("true", "auto"):
        return _resumable(_named(asked), args)
    torn = {}
    for path in checkpoints(folder):
        fault = fault_of(path) or missing_state(path)
        if fault is None:
            _warn_of(torn, args, f"resuming from {path}")
            return _resumable(str(path), args)
        torn[path] = fault
    if any(fault_of(path) is None for path in torn):
        raise ValueError(f"No checkpoint in {folder} can be resumed ({_listed(torn)}); {_FROM_WEIGHTS}.")
    if asked.lower() == "auto":
        _warn_of(torn, args, "beginning anew")
        return None
    if torn:
        raise ValueError(
            f"No checkpoint in {folder} is whole ({_listed(torn)}); delete them and leave "
            "resume_from_checkpoint out to begin anew."
        )
    raise _nothing_in(folder)


def _named(path: str) -> str:
    """Return the checkpoint folder that was given by name; raise ValueError where it is absent or torn."""
    if not Path(path).is_dir():
        raise _nothing_in(path)
    fault = fault_of(Path(path))
    if fault is not None:
        raise ValueError(f"The checkpoint {path} is not whole ({fault}); resume from an earlier one.")
    missing = missing_state(Path(path))
    if missing is not None:
        raise ValueError(f"The checkpoint {path} cannot be resumed ({missing}); {_FROM_WEIGHTS}.")
    return path


def _resumable(path: str, args: SFTConfig) -> str:
    """Return the checkpoint's folder; warn where another number of processes saved it."""
    saved = len(list(Path(path).glob("rng_state*.pth")))
    if saved != args.world_size and args.process_index == 0:
        print(
            f"warning: {path} was saved by {saved} process{'es' if saved > 1 else ''} and is resumed by "
            f"{args.world_size}: random numbers, such as those of dropout, will not be those of an uninterrupted run.",
            file=sys.stderr,
        )
    return path


def _nothing_in(folder: str) -> ValueError:
    """Return the error to raise where a folder holds no checkpoint."""
    return ValueError(
        f"There is no checkpoint to resume from in {folder}; leave resume_from_checkpoint out to begin anew."
    )


def _warn_of(torn: dict[Path, str], args: SFTConfig, consequence: str) -> None:
    """Print a warning about torn checkpoints, once for all processes."""
    if torn and args.process_index == 0:
        print(f"warning: skipped incomplete checkpoints ({_listed(torn)}); {consequence}.", file=sys.stderr)


def _listed(torn: dict[Path, str]) -> str:
    return "; ".join(f"{path.name}: {fault}" for path, fault in torn.items())


def checkpoints(folder: str) -> list[Path]:
    """Return the checkpoint folders of a run, the newest first."""
    matches = [(_CHECKPOINT.fullmatch(path.name), path) for path in Path(folder).glob("checkpoint-*") if path.is_dir()]
    numbered = [(int(match[1]), path) for match, path in matches if match]
    return [path for _, path in sorted(numbered, reverse=True)]


def fault_of(checkpoint: Path) -> str | None:
    """Return the first fault of a torn checkpoint; None if it is whole. Reads headers, not weights."""
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


def missing_state(checkpoint: Path) -> str | None:
    """Return what a whole checkpoint lacks of the states from which a run resumes exactly; None if nothing."""
    state = json.loads((checkpoint / "trainer_state.json").read_text(encoding="utf-8"))
    if not isinstance(state, dict) or not state.get("global_step"):
        return "trainer_state.json names no step"
    for patterns, what in _STATES.items():
        if not any(path for pattern in patterns for path in checkpoint.glob(pattern)):
            return f"it holds no {what}"
    return None


def _is_readable(path: Path) -> bool:
    """Return whether a file of tensors is complete; other files are not looked into."""
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
