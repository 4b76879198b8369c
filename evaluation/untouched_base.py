"""Find the untouched model beside which a planner is measured: the base of an adapter, or a converted base itself."""

from pathlib import Path

from ..loading.adapter_base import base_of, is_adapter
from ..loading.bases import BASES
from ..loading.weights import naming


def untouched_base(source: str) -> str | None:
    """Return the folder or Hub repository of a checkpoint's base; None where it is not known.

    Raises:
        ValueError: an adapter whose base is not there.
    """
    if is_untouched(source):
        return source
    with naming(source):
        base = base_of(source)
    return untouched_base(base) if base is not None and is_adapter(base) else base


def is_untouched(source: str) -> bool:
    """Tell whether a checkpoint is a base as it was converted, which has not learned to plan."""
    folders = {folder for base in BASES.values() for folder in (base.from_wheel, base.from_hub)}
    return Path(source) in folders
