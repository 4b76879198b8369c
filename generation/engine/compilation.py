"""Compile a backbone: `torch.compile`, and on request with its weights frozen into the compiled code.

`CompileConfig(mode=None, options={"freezing": True})` freezes: the weights become constants, packed once as the CPU's
matrix products read them, in a second copy. torch reads that option when it generates code, but decides earlier, while
it traces, whether weights are constants, so it must be set for whole calls. Constants do not follow weights that
change: whoever makes a runner after that gets new code. For the same reason frozen code need not look at every module
before every call whether it is still what it was, which took a tenth of a narrow forward's time; modules of adapters,
which are switched on and off, are still looked at. Code that looks at no module would also serve other models of the
same shape, so the forward is given a name of its own for every backbone, at which compiled code does look.
"""

import weakref
from collections.abc import Callable
from itertools import count
from typing import Any, cast

import torch
from transformers import CompileConfig

FREEZING = "freezing"
ADAPTERS_SWITCH = "disable_adapters"  # a property of PEFT's layers, and a method of every model of transformers
# Forms of the forward that are kept: one per width, backbone and kind of mask. Beyond torch's own limit, 8 for all
# backbones of a process together, forwards would run uncompiled.
MOST_FORMS = 128

Forward = Callable[..., torch.Tensor]
_NUMBERS = count(1)
# By backbone whose weights were frozen: their state then, and the name under which compiled code knows it.
_frozen: weakref.WeakKeyDictionary[torch.nn.Module, tuple[int, str]] = weakref.WeakKeyDictionary()


def compiled_form(forward: Forward, backbone: torch.nn.Module, config: CompileConfig) -> Forward:
    """Return a compiled form of a forward, whose first argument is the backbone.

    Code with frozen weights is dropped, with all other compiled code, where the weights are no longer those.
    """
    from torch._dynamo import config as dynamo

    dynamo.recompile_limit = max(dynamo.recompile_limit, MOST_FORMS)
    arguments: dict[str, Any] = config.to_dict()
    if not (config.options or {}).get(FREEZING):
        return torch.compile(forward, **arguments)
    if not any(isinstance(getattr(type(module), ADAPTERS_SWITCH, None), property) for module in backbone.modules()):
        arguments["options"] = arguments["options"] | {
            "guard_filter_fn": torch.compiler.skip_guard_on_all_nn_modules_unsafe
        }
    state = state_of_weights(backbone)
    frozen_state, name = _frozen.get(backbone, (None, ""))
    if frozen_state != state:
        if name:
            torch.compiler.reset()
            _frozen.clear()
        name = f"backbone {next(_NUMBERS)}"
        _frozen[backbone] = state, name

    def named(called: str, *args: object, **inputs: object) -> torch.Tensor:
        if called != name:  # compiled code looks at both; an assertion would be left out by python -O
            raise ValueError(f"Code of {name} was called for {called}.")
        return forward(*args, **inputs)

    run = torch.compile(named, **arguments)
    from torch._dynamo.convert_frame import compile_lock
    from torch._inductor import config as inductor
    from torch.fx.experimental import _config as symbols_config

    symbols = cast(Any, symbols_config)  # torch adds `patch` to it at import

    def frozen(*args: object, **inputs: object) -> torch.Tensor:
        # The flags are the process's, and a server may run several engines: one call at a time. Sizes that happen to be
        # equal at first are not taken to be so forever: 64 slots beside heads of 64 would need a second form.
        with compile_lock, inductor.patch(freezing=True), symbols.patch(use_duck_shape=False):
            return run(name, *args, **inputs)

    return frozen


def state_of_weights(backbone: torch.nn.Module) -> int:
    """Return a number that changes when weights are written in place or replaced, or a mode is switched."""
    modes = backbone.training, getattr(getattr(backbone, "config", None), "_attn_implementation", None)
    weights = tuple((one.data_ptr(), 0 if one.is_inference() else one._version) for one in backbone.parameters())
    return hash((modes, weights))
