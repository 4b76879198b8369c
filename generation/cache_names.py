"""Name the key/value cache as the installed transformers does: `past_key_values`, or `cache` from 5.24 on.

Checkpoints carry this code for years, and backbones may be code that came with a checkpoint: what is asked is the
signature, not the version.
"""

from inspect import signature

from torch import nn
from transformers.modeling_outputs import CausalLMOutputWithPast

NAMES = ("cache", "past_key_values")
OUTPUT_FIELD = next(name for name in NAMES if name in CausalLMOutputWithPast.__dataclass_fields__)


def cache_argument(model: nn.Module) -> str:
    """Return the name of the argument under which the forward of a model takes its cache."""
    parameters = signature(type(model).forward).parameters
    return next((name for name in NAMES if name in parameters), NAMES[-1])
