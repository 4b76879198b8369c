"""Choose the data type in which a checkpoint's weights are fast on this machine.

A CPU without bfloat16 instructions (x86 before AVX512-BF16 and AMX) computes bfloat16 products in float32, a conversion
at a time: the included model answers 2 to 5 times slower there than in float32 (AMD EPYC with AVX2, torch 2.13).
"""

import os

import torch

from ..configuration_planned_diffusion import PlannedDiffusionConfig
from .memory import memory_of

FASTEST = "fastest"
BFLOAT16_INSTRUCTIONS = ("avx512_bf16", "amx_bf16", "avx10_1", "avx10_2")
SHARE_OF_MEMORY = 0.25  # of the machine's, for the weights in float32


def resolved_dtype(dtype: str, config: PlannedDiffusionConfig, device: torch.device | str) -> str:
    """Return the data type that "fastest" means: "auto", the checkpoint's, or float32 where bfloat16 would be slow.

    Weights that would fill more than a quarter of the machine's memory in float32 stay in bfloat16. Any other data type
    is returned as it is.
    """
    if dtype != FASTEST:
        return dtype
    slow = config.dtype == torch.bfloat16 and torch.device(device).type == "cpu" and not has_bfloat16_instructions()
    fits = slow and memory_of(config).weights["float32"] <= SHARE_OF_MEMORY * machine_memory()
    return "float32" if fits else "auto"


def has_bfloat16_instructions() -> bool:
    """Return whether this CPU multiplies bfloat16 numbers; True where it cannot be told."""
    capabilities = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    if capabilities.get("architecture") != "x86_64":
        return True
    return any(capabilities.get(name, False) for name in BFLOAT16_INSTRUCTIONS)


def machine_memory() -> int:
    """Return the bytes of memory that this machine has; 0 where the system does not tell."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return 0
