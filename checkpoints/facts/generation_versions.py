"""Whether Python, torch and transformers are new enough; asked before anything heavy is imported."""

import platform
import re
from importlib.metadata import PackageNotFoundError, version

LEAST = {"Python": (3, 11), "torch": (2, 11), "transformers": (5, 17)}  # the range of pyproject.toml


def check_versions() -> None:
    """
    Raises:
        RuntimeError: one of them is too old, or missing; the message says what to install.
    """
    for name, least in LEAST.items():
        needed = ".".join(map(str, least))
        try:
            found = platform.python_version() if name == "Python" else version(name)
        except PackageNotFoundError:
            raise RuntimeError(f"{name} is not installed; run pip install '{name}>={needed}'.") from None
        if tuple(map(int, re.findall(r"\d+", found)[:2])) < least:
            remedy = f"use Python {needed} or newer" if name == "Python" else f"run pip install '{name}>={needed}'"
            raise RuntimeError(f"This is {name} {found}, and planned-diffusion needs {needed} or newer; {remedy}.")
