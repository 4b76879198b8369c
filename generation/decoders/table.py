"""The decoders by name. To add one, write its file after the example of `autoregressive.py`, and its line here (for the
help of the command line also its name in `fields.DECODER_NAMES`).
"""

from collections.abc import Iterable

from .adaptive_parallel import ADAPTIVE_PARALLEL
from .autoregressive import AUTOREGRESSIVE
from .block_diffusion import BLOCK_DIFFUSION
from .decoder import Decoder
from .diffusion import DIFFUSION
from .fast_dllm import FAST_DLLM
from .parallel_autoregressive import PARALLEL_AUTOREGRESSIVE
from .parallel_speculative import PARALLEL_SPECULATIVE
from .planned import PLANNED
from .self_verified import SELF_VERIFIED
from .speculative import SPECULATIVE

DECODERS: dict[str, Decoder] = {
    "planned": PLANNED,
    "autoregressive": AUTOREGRESSIVE,
    "diffusion": DIFFUSION,
    "fast_dllm": FAST_DLLM,
    "adaptive_parallel": ADAPTIVE_PARALLEL,
    "block_diffusion": BLOCK_DIFFUSION,
    "parallel_autoregressive": PARALLEL_AUTOREGRESSIVE,
    "self_verified": SELF_VERIFIED,
    "speculative": SPECULATIVE,
    "parallel_speculative": PARALLEL_SPECULATIVE,
}


def names_of(decoders: Iterable[str]) -> str:
    """Return decoder names as an error message lists them: 'planned' or 'self_verified'."""
    return " or ".join(map(repr, decoders))
