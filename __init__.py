"""Planned Diffusion: language models that plan first and then write in parallel (arXiv 2510.18087).

Attributes load on first use, so that `import planned_diffusion` stays cheap. Whatever loads first also registers the
Auto classes: `AutoModelForCausalLM.from_pretrained` then knows `planned_diffusion` checkpoints without remote code.
"""

import importlib

__version__ = "0.1.0"

_HOME = {
    "PlannedDiffusionConfig": "configuration_planned_diffusion",
    "PlannedDiffusionForCausalLM": "modeling_planned_diffusion",
    "PlannedDiffusionPreTrainedModel": "modeling_planned_diffusion",
    "PlannedDiffusionGenerationConfig": "generation.config",
    "PlannedDiffusionGenerationMixin": "generation.mixin",
    "PlannedDiffusionOutput": "generation.mixin",
    "Plan": "generation.plan",
    "Round": "generation.plan",
    "Span": "generation.plan",
    "Blank": "generation.skeleton",
    "write_flat_code": "hub.flat",
}

__all__ = ["__version__", *_HOME]


def __getattr__(name):
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    importlib.import_module(f"{__name__}.versions_planned_diffusion").check_versions()
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__():
    return sorted(__all__)
