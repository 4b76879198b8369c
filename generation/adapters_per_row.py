"""Refuse what PEFT would set for each row of a batch: all requests share the rows of one packed forward."""

from functools import partial

from torch import nn

PER_ROW = ("adapter_names", "alora_offsets")  # arguments that PEFT takes from `generate` and hands to its layers


def refuse_adapters_per_row(model: nn.Module) -> None:
    """Refuse an adapter per row of a batch; one name, for one prompt, is no trouble.

    PEFT hands the names to its layers by hooks and does not remove them after an error, so this does: otherwise every
    later call would fail, too.

    Raises:
        ValueError: more than one of them.
    """
    refused = set()
    for module in model.modules():
        for key, hook in list(module._forward_pre_hooks.items()):
            given = hook.keywords if isinstance(hook, partial) else {}
            names = [name for name in PER_ROW if name in given and len(given[name] or ()) > 1]
            if names:
                refused.update(names)
                del module._forward_pre_hooks[key]
                module._forward_pre_hooks_with_kwargs.pop(key, None)
    if refused:
        raise ValueError(
            f"{min(refused)} sets something for each row of a batch, and generate packs all rows into one; choose an "
            "adapter with set_adapter and call generate once per adapter."
        )
