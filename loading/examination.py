"""Examine this installation for `planned-diffusion doctor`: known traps, each with what to do about it.

A fault stops something that should work; a note makes it slower, or says what is not there.
"""

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import torch
from huggingface_hub import constants

from .bases import BASES, cache_folder, converted, wheel_file
from .embedded import EMBEDDED
from .installed import Extra, Library, extras, installed, libraries
from .machine import Machine, ProductSpeed, describe_machine, measure_products
from .precision import has_bfloat16_instructions

FAULT, NOTE = "fault", "note"
LEAST_FREE = 10**9  # bytes on the disk of the cache; a converted base takes a third of that
FASTER = 1.2  # times: a difference of speeds below that is noise


@dataclass(frozen=True)
class Finding:
    """A trap: whether it is a fault or a note, and a sentence that says what is wrong and what to do."""

    kind: str
    text: str


@dataclass(frozen=True)
class Examination:
    """Everything that `doctor` tells.

    kernels: what computes attention, quantised and compiled products, a line each.
    """

    python: str
    libraries: Sequence[Library]
    extras: Sequence[Extra]
    machine: Machine
    products: Sequence[ProductSpeed]
    kernels: Sequence[str]
    findings: Sequence[Finding]

    @property
    def is_well(self) -> bool:
        """Whether nothing is a fault."""
        return all(finding.kind != FAULT for finding in self.findings)


def examine() -> Examination:
    """Look at libraries, machine and caches, and measure a few products."""
    machine, needed, optional = describe_machine(), libraries(), extras()
    device = torch.device("cuda" if machine.accelerator else "cpu")
    products = measure_products(device)
    findings = [
        *about_libraries(needed),
        *about_machine(machine),
        *about_products(products, device),
        *about_caches(),
        *about_models(),
    ]
    version = ".".join(map(str, sys.version_info[:3]))
    return Examination(version, needed, optional, machine, products, kernels(machine), findings)


def kernels(machine: Machine) -> list[str]:
    """Return what computes attention, quantised weights and compiled models here, a line each."""
    attention = "sdpa" if machine.accelerator else "sdpa, a segment per request and span on a CPU"
    quantised = installed("bitsandbytes")
    native = machine.accelerator is not None or find_spec("kernels") is not None
    slow = "" if native else "; nf4 is slower without the package kernels"
    return [
        f"attention: {attention}; eager and flex_attention can be asked for, FlashAttention cannot express spans",
        f"4 and 8 bits: {f'bitsandbytes {quantised}{slow}' if quantised else 'not installed (extra int4)'}",
        f"compiled: {machine.compiler or 'no C++ compiler, so --compile fails on a CPU'}",
    ]


def about_libraries(needed: Sequence[Library]) -> Iterator[Finding]:
    """Yield libraries outside of the range required, and those that are not the version tested."""
    for one in needed:
        if not one.is_in_range:
            range_needed = f", and {one.required} is needed" if one.required else ""
            command = f"pip install '{one.name}{one.required}'"
            yield Finding(FAULT, f"{one.name} is {one.version or 'not installed'}{range_needed}; {command}.")
    other = [f"{one.name} {one.version} ({one.tested})" for one in needed if one.tested and not _is_tested(one)]
    if other:
        yield Finding(
            NOTE, f"Not the versions tested: {', '.join(other)}; for those, pip install -c constraints.txt -e ."
        )


def _is_tested(one: Library) -> bool:
    """Tell whether a version is the tested one; what a build adds (2.13.0+cpu) does not count."""
    return one.version is not None and one.version.partition("+")[0] == one.tested


def about_machine(machine: Machine) -> Iterator[Finding]:
    """Yield a GPU that torch does not see, threads that do not fit the cores, and instructions that are missing."""
    if machine.accelerator is None and shutil.which("nvidia-smi"):
        yield Finding(
            FAULT, "There is an NVIDIA driver, and torch sees no GPU; install a torch that is built for CUDA."
        )
    if machine.threads > machine.cores:
        yield Finding(
            FAULT,
            f"torch computes in {machine.threads} threads on {machine.cores:g} cores, which is slower than one thread "
            f"each; set OMP_NUM_THREADS={max(1, int(machine.cores))}.",
        )
    elif machine.threads <= machine.cores / 2 and "OMP_NUM_THREADS" in os.environ:
        yield Finding(
            NOTE, f"torch computes in {machine.threads} of {machine.cores:g} cores, as OMP_NUM_THREADS says; unset it."
        )
    if machine.accelerator is None and machine.instructions and "avx512_f" not in machine.instructions:
        yield Finding(NOTE, "This CPU has no AVX-512, so that forwards take longer than those of docs/results.md.")


def about_products(products: Sequence[ProductSpeed], device: torch.device) -> Iterator[Finding]:
    """Yield a note where the data type that `--dtype auto` takes is not the faster one."""
    speed = {(one.dtype, one.rows): one.gigaflops for one in products}
    times = {rows: speed["bfloat16", rows] / speed["float32", rows] for rows in {one.rows for one in products}}
    told = ", ".join(f"{rows} {times[rows]:.1f}" for rows in sorted(times))
    takes_bfloat16 = device.type != "cpu" or has_bfloat16_instructions()
    if takes_bfloat16 and max(times.values()) < 1 / FASTER:
        yield Finding(
            NOTE, f"bfloat16 products are slower than float32 ones here (times {told}); give --dtype float32."
        )
    if not takes_bfloat16 and min(times.values()) > FASTER:
        yield Finding(
            NOTE,
            f"bfloat16 products are faster than float32 ones here (times {told}), although the CPU has no instructions "
            "for them; give --dtype bfloat16.",
        )


def about_caches() -> Iterator[Finding]:
    """Yield caches that cannot be written, that are nearly full, or that nothing is fetched into."""
    places = {"HF_HOME": Path(constants.HF_HOME), "XDG_CACHE_HOME": cache_folder()}
    for variable, folder in places.items():
        if not is_writable(folder):
            yield Finding(FAULT, f"{folder} cannot be written; set {variable} to a folder that can.")
        elif (free := shutil.disk_usage(_existing(folder)).free) < LEAST_FREE:
            yield Finding(NOTE, f"{folder} has {free / 1e9:.1f} GB left; make room, or set {variable} to another disk.")
    if constants.HF_HUB_OFFLINE:
        yield Finding(NOTE, "HF_HUB_OFFLINE is set, so nothing is fetched from the Hub; unset it to fetch models.")


def about_models() -> Iterator[Finding]:
    """Yield an included model that is not whole, and bases that have not been converted yet."""
    if not (EMBEDDED / "model.safetensors").is_file():
        yield Finding(FAULT, f"The included model is missing in {EMBEDDED}; restore it, or run make checkpoint.")
    elif not (EMBEDDED / "modeling_planned_diffusion.py").is_file():
        yield Finding(NOTE, "The included model has no code of its own yet, for others to load it; run make demo once.")
    for base in BASES.values():
        if converted(base) is None:
            try:
                remedy = "" if wheel_file(base) else f"{base.install}, and then "
            except ValueError as error:
                yield Finding(FAULT, str(error))
                continue
            command = f"planned-diffusion generate --model {base.name} Hello"
            yield Finding(NOTE, f"The real model {base.name} has not been converted here; {remedy}{command} once.")


def is_writable(folder: Path) -> bool:
    """Tell whether files can be made in a folder, or in the one in which it would be made."""
    try:
        tempfile.TemporaryFile(dir=_existing(folder)).close()
    except OSError:
        return False
    return True


def _existing(folder: Path) -> Path:
    """Return a folder, or the nearest one above it that exists."""
    folder = folder.expanduser().absolute()
    return next((path for path in (folder, *folder.parents) if path.is_dir()), folder)
