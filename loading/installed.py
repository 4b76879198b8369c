"""Tell which libraries are installed: versions beside those required and tested, and what optional features lack."""

import re
import tomllib
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

from packaging.requirements import Requirement

NAME = "planned-diffusion"
ROOT = Path(__file__).resolve().parents[1]
BY_HAND = {"dev", "docs"}  # extras that only work on this project needs
EXTRA = re.compile(r"extra == ['\"]([\w-]+)['\"]")


@dataclass(frozen=True)
class Library:
    """A library that is required: its version here (None: not installed), the range required, the version tested."""

    name: str
    version: str | None
    required: str
    tested: str | None

    @property
    def is_in_range(self) -> bool:
        """Whether a version is installed that is in the range required."""
        return self.version is not None and Requirement(self.name + self.required).specifier.contains(
            self.version, prereleases=True
        )


@dataclass(frozen=True)
class Extra:
    """An optional feature by the name of its extra, the libraries that it lacks here, and what brings them."""

    name: str
    missing: tuple[str, ...]

    @property
    def command(self) -> str:
        """Return the command that installs what is missing."""
        return f"pip install '{NAME}[{self.name}]'"


def libraries(root: Path = ROOT) -> list[Library]:
    """Return the libraries that every command needs.

    Args:
        root: folder of the package; a checkout has its pyproject.toml and constraints.txt there.
    """
    tested = _tested(root / "constraints.txt")
    return [
        Library(one.name, installed(one.name), str(one.specifier), tested.get(one.name.replace("-", "_").lower()))
        for one in _requirements(root)[""]
    ]


def extras(root: Path = ROOT) -> list[Extra]:
    """Return the optional features, with the libraries that each lacks here or has in another version than required."""
    return [
        Extra(name, tuple(str(one) for one in needed if not _is_there(one)))
        for name, needed in _requirements(root).items()
        if name and name not in BY_HAND
    ]


def installed(name: str) -> str | None:
    """Return the version of an installed library; None where it is not installed."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _is_there(requirement: Requirement) -> bool:
    found = installed(requirement.name)
    return found is not None and requirement.specifier.contains(found, prereleases=True)


def _requirements(root: Path) -> dict[str, list[Requirement]]:
    """Return the requirements by extra, those of every command under "": of a checkout, or as they were installed."""
    file = root / "pyproject.toml"
    if file.is_file():
        project = tomllib.loads(file.read_text(encoding="utf-8"))["project"]
        listed = {"": project["dependencies"], **project["optional-dependencies"]}
        return {name: [Requirement(text) for text in texts] for name, texts in listed.items()}
    found: dict[str, list[Requirement]] = {"": []}
    try:
        texts = requires(NAME) or []
    except PackageNotFoundError:  # run from a folder without metadata
        texts = []
    for text in texts:
        extra = EXTRA.search(text)
        found.setdefault(extra[1] if extra else "", []).append(Requirement(text.partition(";")[0]))
    return found


def _tested(file: Path) -> dict[str, str]:
    """Return the versions of a file of constraints by name; nothing where there is no file."""
    if not file.is_file():
        return {}
    lines = [line.split("==") for line in file.read_text(encoding="utf-8").splitlines() if "==" in line]
    return {name.strip().replace("-", "_").lower(): number.strip() for name, number in lines}
