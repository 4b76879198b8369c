"""Check that Python, torch and transformers are new enough, before an old version fails with an unclear error."""

import re
import sys

LEAST = {"Python": (3, 11), "torch": (2, 11), "transformers": (5, 17)}  # the range of pyproject.toml


def found_versions() -> dict[str, str]:
    """Return the versions of Python, torch and transformers; a library that is not installed is left out."""
    found = {"Python": ".".join(map(str, sys.version_info[:3]))}
    try:
        import torch

        found["torch"] = str(torch.__version__)
        import transformers

        found["transformers"] = transformers.__version__
    except ImportError:
        pass
    return found


def check_versions() -> None:
    """Refuse versions below LEAST.

    Raises:
        RuntimeError: Python or a library is too old, or a library is missing; the message says what to install.
    """
    found = found_versions()
    for name, least in LEAST.items():
        needed = ".".join(map(str, least))
        remedy = f"use Python {needed} or newer" if name == "Python" else f"run pip install '{name}>={needed}'"
        if name not in found:
            raise RuntimeError(f"{name} is not installed; {remedy}.")
        if tuple(map(int, re.findall(r"\d+", found[name])[:2])) < least:
            this = f"{name} {found[name]}"
            raise RuntimeError(f"This is {this}, and planned-diffusion needs {needed} or newer; {remedy}.")
