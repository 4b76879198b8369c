"""Register the Auto classes of transformers at their first use, so that `import planned_diffusion` imports neither
transformers nor torch.

`AutoModel`, `AutoModelForCausalLM`, `AutoTokenizer` and `pipeline` all read the configuration first, through
`AutoConfig`. Its two doors therefore import the model of this package, which registers itself, before they do their
work. An import hook opens them so where transformers comes later.
"""

import functools
import importlib
import sys
from collections.abc import Callable, Sequence
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any

HOME_OF_AUTO_CONFIG = "transformers.models.auto.configuration_auto"
DOORS = ("from_pretrained", "for_model")  # class methods of AutoConfig


def register_auto_classes() -> None:
    """Let the Auto classes know this package's model, whether transformers is imported before or after."""
    loaded = sys.modules.get(HOME_OF_AUTO_CONFIG)
    if loaded is None:
        sys.meta_path.insert(0, Registrar())
    else:
        open_doors(loaded)


class Registrar:
    """An import hook that changes the module of AutoConfig right after it is loaded, and leaves all others alone."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return how the module of AutoConfig is loaded and changed; None for every other module."""
        if name != HOME_OF_AUTO_CONFIG:
            return None
        spec = PathFinder.find_spec(name, path, target)
        if spec is None or spec.loader is None:
            return None
        load = spec.loader.exec_module

        def load_and_open(module: ModuleType) -> None:
            load(module)
            open_doors(module)

        spec.loader.exec_module = load_and_open  # the rest of the loader is as ever, for debuggers and the like
        return spec


def open_doors(module: ModuleType) -> None:
    """Let the class methods of AutoConfig import the model of this package before they do their work."""
    for name in DOORS:
        given = vars(module.AutoConfig)[name].__func__
        setattr(module.AutoConfig, name, classmethod(_after_registering(given)))


def _after_registering(given: Callable[..., object]) -> Callable[..., object]:
    @functools.wraps(given)
    def register_first(*args: Any, **kwargs: Any) -> object:
        importlib.import_module(f"{__package__}.modeling_planned_diffusion")
        return given(*args, **kwargs)

    return register_first
