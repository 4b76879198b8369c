"""Planned Diffusion: language models that plan first and then write in parallel (arXiv 2510.18087).

Attributes load on first use, so that `import planned_diffusion` stays cheap. It also registers the Auto classes, before
or after the import of transformers (registration.py): `AutoConfig`, `AutoModel`, `AutoModelForCausalLM`,
`AutoTokenizer` and `pipeline` then load `planned_diffusion` checkpoints without remote code.
"""

from typing import TYPE_CHECKING

__version__ = "0.1.0"

__all__ = [
    "Blank",
    "Kept",
    "Plan",
    "PlannedDiffusionConfig",
    "PlannedDiffusionForCausalLM",
    "PlannedDiffusionGenerationConfig",
    "PlannedDiffusionGenerationMixin",
    "PlannedDiffusionOutput",
    "PlannedDiffusionPreTrainedModel",
    "Round",
    "Span",
    "__version__",
    "write_flat_code",
]

if TYPE_CHECKING:  # type checkers, editors and API generators read this; the rest is found by __getattr__
    from .configuration_planned_diffusion import PlannedDiffusionConfig
    from .generation.config import PlannedDiffusionGenerationConfig
    from .generation.mixin import PlannedDiffusionGenerationMixin, PlannedDiffusionOutput
    from .generation.plan import Plan, Round, Span
    from .generation.skeleton import Blank, Kept
    from .hub.flat import write_flat_code
    from .modeling_planned_diffusion import PlannedDiffusionForCausalLM, PlannedDiffusionPreTrainedModel
else:
    import importlib

    _HOME = {
        "Blank": "generation.skeleton",
        "Kept": "generation.skeleton",
        "Plan": "generation.plan",
        "PlannedDiffusionConfig": "configuration_planned_diffusion",
        "PlannedDiffusionForCausalLM": "modeling_planned_diffusion",
        "PlannedDiffusionGenerationConfig": "generation.config",
        "PlannedDiffusionGenerationMixin": "generation.mixin",
        "PlannedDiffusionOutput": "generation.mixin",
        "PlannedDiffusionPreTrainedModel": "modeling_planned_diffusion",
        "Round": "generation.plan",
        "Span": "generation.plan",
        "write_flat_code": "hub.flat",
    }

    def __getattr__(name: str) -> object:
        if name not in _HOME:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        importlib.import_module(f"{__name__}.versions_planned_diffusion").check_versions()
        importlib.import_module(f"{__name__}.modeling_planned_diffusion")  # whatever is used, the Auto classes know it
        return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)

    def __dir__() -> list[str]:
        return sorted(__all__)

    if __name__ == "planned_diffusion":  # pytest imports a clone's root under the name of its folder as well
        importlib.import_module(f"{__name__}.registration").register_auto_classes()
