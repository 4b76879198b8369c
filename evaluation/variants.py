"""The systems to compare: decoders with their fields of `generate`, by the name that tables and pictures show.

Every field that matters is given, so that the checkpoint's defaults do not matter; only how well a checkpoint guesses
(`draft_acceptance`) is its own affair.
"""

from collections.abc import Mapping
from typing import Any

Systems = Mapping[str, Mapping[str, Any]]  # name -> fields of generate

CANVAS = 128  # tokens; the longest held-out answer has 115

PLANNED = {
    "decoding": "planned", "steps_ratio": 1.0, "confidence_threshold": None, "plan_lookahead": 0, "plan_drafts": 0,
}  # fmt: skip
SYSTEMS = {
    "planned, ratio 1": PLANNED,
    "planned, ratio 0.5": {**PLANNED, "steps_ratio": 0.5},
    "planned, threshold 0.9": {**PLANNED, "confidence_threshold": 0.9},
    "planned, threshold 0.7": {**PLANNED, "confidence_threshold": 0.7},
    "planned, threshold 0.9, lookahead 3": {**PLANNED, "confidence_threshold": 0.9, "plan_lookahead": 3},
    "planned, threshold 0.9, drafted plan": {
        **PLANNED, "confidence_threshold": 0.9, "plan_lookahead": 3, "plan_drafts": 8,
    },
    "autoregressive": {"decoding": "autoregressive"},
}  # fmt: skip

_FREE = {"confidence_threshold": None, "max_new_tokens": CANVAS}
_DIFFUSION = {"decoding": "diffusion", "steps_ratio": 1.0, **_FREE}
_FAST_DLLM = {"decoding": "fast_dllm", "unmasking": "confidence", "block_size": 32, **_FREE}
_BLOCKS = {"decoding": "block_diffusion", "steps_ratio": 1.0, **_FREE}
_APD = {"decoding": "adaptive_parallel", "max_new_tokens": CANVAS, "max_lookahead": 32}

VARIANTS = {
    **SYSTEMS,
    "planned, ratio 0.25": {**PLANNED, "steps_ratio": 0.25},
    "planned, threshold 0.5": {**PLANNED, "confidence_threshold": 0.5},
    "planned, threshold 0.5, lookahead 3": {**PLANNED, "confidence_threshold": 0.5, "plan_lookahead": 3},
    "planned, factor 0.5": {**PLANNED, "unmasking_rule": "factor", "confidence_factor": 0.5},
    "planned, factor 1": {**PLANNED, "unmasking_rule": "factor", "confidence_factor": 1.0},
    "planned, entropy bound 0.1": {**PLANNED, "unmasking_rule": "entropy_bound", "entropy_bound": 0.1},
    "planned, entropy bound 0.5": {**PLANNED, "unmasking_rule": "entropy_bound", "entropy_bound": 0.5},
    "planned, deferred commitment": {
        **PLANNED, "unmasking_rule": "deferred_commitment", "confidence_threshold": 0.9,
    },
    "planned, threshold 0.5, refine 0.25": {**PLANNED, "confidence_threshold": 0.5, "refine_share": 0.25},
    "parallel autoregressive": {"decoding": "parallel_autoregressive", "plan_lookahead": 0, "plan_drafts": 0},
    "parallel autoregressive, lookahead 3": {
        "decoding": "parallel_autoregressive", "plan_lookahead": 3, "plan_drafts": 0,
    },
    "speculative": {"decoding": "speculative", "draft_tokens": 8},
    "parallel speculative, lookahead 3": {
        "decoding": "parallel_speculative", "plan_lookahead": 3, "draft_tokens": 8,
    },
    "self-verified, one step": {**PLANNED, "decoding": "self_verified", "steps_ratio": 0.01},
    "self-verified, threshold 0.5": {**PLANNED, "decoding": "self_verified", "confidence_threshold": 0.5},
    "diffusion, ratio 1": _DIFFUSION,
    "diffusion, ratio 0.5": {**_DIFFUSION, "steps_ratio": 0.5},
    "diffusion, threshold 0.9": {**_DIFFUSION, "confidence_threshold": 0.9},
    "diffusion, entropy bound 0.1": {**_DIFFUSION, "unmasking_rule": "entropy_bound", "entropy_bound": 0.1},
    "diffusion, deferred commitment": {
        **_DIFFUSION, "unmasking_rule": "deferred_commitment", "confidence_threshold": 0.9,
    },
    "Fast-dLLM, no cache, threshold 0.9": {**_FAST_DLLM, "block_cache": "none", "confidence_threshold": 0.9},
    "Fast-dLLM, prefix cache, threshold 0.9": {**_FAST_DLLM, "block_cache": "prefix", "confidence_threshold": 0.9},
    "Fast-dLLM, dual cache, threshold 0.9": {**_FAST_DLLM, "block_cache": "dual", "confidence_threshold": 0.9},
    "Fast-dLLM, dual cache, factor 1": {
        **_FAST_DLLM, "unmasking": "entropy", "block_cache": "dual", "unmasking_rule": "factor",
        "confidence_factor": 1.0,
    },
    "blocks of 1": {**_BLOCKS, "block_size": 1},
    "blocks of 4, threshold 0.9": {**_BLOCKS, "block_size": 4, "confidence_threshold": 0.9},
    "blocks of 8, threshold 0.9": {**_BLOCKS, "block_size": 8, "confidence_threshold": 0.9},
    "blocks of 32, threshold 0.9": {**_BLOCKS, "block_size": 32, "confidence_threshold": 0.9},
    "blocks of 8, threshold 0.9, refine 0.25": {
        **_BLOCKS, "block_size": 8, "confidence_threshold": 0.9, "refine_share": 0.25,
    },
    "APD, R 0.9": {**_APD, "mixture_weight": 0.9},
    "APD, R 0.7": {**_APD, "mixture_weight": 0.7},
    "APD, R 0.5": {**_APD, "mixture_weight": 0.5},
}  # fmt: skip

# The systems that a text task measures without --all.
TEXT_SYSTEMS = {
    name: VARIANTS[name]
    for name in (
        "planned, ratio 1", "planned, threshold 0.9, lookahead 3", "parallel autoregressive, lookahead 3",
        "parallel speculative, lookahead 3", "autoregressive", "speculative",
    )
}  # fmt: skip


def choose_systems(systems: Systems, decoding: str | None) -> Systems:
    """Return the systems that use a decoder, or all of them for None.

    Raises:
        ValueError: no system uses that decoder.
    """
    chosen = {name: fields for name, fields in systems.items() if decoding in (None, fields["decoding"])}
    if not chosen:
        known = dict.fromkeys(fields["decoding"] for fields in systems.values())
        raise ValueError(f"decoding is {decoding!r}; choose one of {', '.join(known)}.")
    return chosen
