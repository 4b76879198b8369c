"""The gate of a drafter: LoRA that acts on the rows of drafts alone, so that every other row is the base model's.

A forward of `x d1` and two groups of two blanks; `+` marks the rows to which each linear layer adds its LoRA output:

    row          x    d1  |  #    #  |  #    #
    stream       text     |  DRAFT + x's, d1's position
    draft_rows   .    .   |  +    +  |  +    +

What is not marked is copied bit for bit, and a forward without marks runs no LoRA at all. Nothing but blanks sees a
blank (visibility.py), so the text and the states in its cache are those of the base model, whatever was trained.

The gate stands in PEFT's LoRA layers in the place that PEFT has for variants of LoRA (DoRA, aLoRA), and needs nothing
of PEFT itself. It is told its rows by the argument `draft_rows` of the backbone's forward, which it takes out.
"""

from typing import Any

import torch
from torch import nn

ARGUMENT, PLACE = "draft_rows", "draft_gate"
NO_MERGE = (
    "a gated adapter acts on draft rows only, and merged weights would act on all of them: keep it beside its base, "
    "unmerged"
)

# Rows of a forward of B x N tokens: bool [B, N]; or, counted through all lines, their numbers, int64 [D], or a slice.
Rows = torch.Tensor | slice


class DraftGate:
    """A variant of LoRA, as PEFT's layers call it, that reads and writes the rows of drafts alone.

    Attributes:
        rows: of the forward that runs, or that ran last, whose layers gradient checkpointing runs again; None for none.
    """

    def __init__(self) -> None:
        self.rows: Rows | None = None

    def take_rows(self, module: nn.Module, args: tuple, kwargs: dict[str, Any]) -> tuple[tuple, dict[str, Any]]:
        """Take the rows out of the arguments of a backbone's forward, in front of which this is hooked."""
        rows = kwargs.pop(ARGUMENT, None)
        if isinstance(rows, torch.Tensor) and rows.dtype == torch.bool and not torch.compiler.is_compiling():
            rows = rows.flatten().nonzero().squeeze(1)
            rows = rows if len(rows) else None
        self.rows = rows
        return args, kwargs

    def forward(
        self, module: Any, active_adapter: str, x: torch.Tensor, result: torch.Tensor, **kwargs: object
    ) -> torch.Tensor:
        """Return a layer's result with LoRA added in the rows of drafts.

        Args:
            module: a LoRA layer of PEFT.
            x: its input, [B, N, H] in the adapter's type.
            result: the base layer's output, [B, N, O].

        Raises:
            ValueError: a layer that is given other rows than those of the forward, such as an expert.
        """
        if self.rows is None:
            return result
        if x.dim() != 3:
            raise ValueError(
                f"A gated adapter found a layer whose input has the shape {list(x.shape)}, and cannot tell which of "
                "its rows are drafts; leave experts out of lora_target_modules (attention has none)."
            )
        lora_a, lora_b = module.lora_A[active_adapter], module.lora_B[active_adapter]
        rows, scaling, before = self.rows, module.scaling[active_adapter], result.flatten(0, 1)  # [B * N, O]; a view
        if isinstance(rows, slice) and lora_b.bias is None and lora_b.weight.dtype == result.dtype:
            # The engine's way, in place: in narrow forwards each operation costs more than its arithmetic.
            inner = nn.functional.linear(x.flatten(0, 1)[rows], lora_a.weight)
            before[rows].addmm_(inner, lora_b.weight.T, alpha=scaling)
            return before.view_as(result)
        dropout = module.lora_dropout[active_adapter]
        if isinstance(rows, slice):
            before[rows] += (lora_b(lora_a(dropout(x.flatten(0, 1)[rows]))) * scaling).to(result.dtype)
            return before.view_as(result)
        if rows.dtype == torch.bool:  # compiled, where shapes must not depend on it
            drafted = (result + lora_b(lora_a(dropout(x))) * scaling).to(result.dtype)
            return torch.where(rows[..., None], drafted, result)
        rows = rows.to(result.device)  # a model may lie on several
        drafted = before[rows] + lora_b(lora_a(dropout(x.flatten(0, 1)[rows]))) * scaling  # [D, O]
        return before.index_put((rows,), drafted.to(result.dtype)).view_as(result)

    def supports_lora_conversion(self) -> bool:
        return False

    def merge_safe(self, module: nn.Module, active_adapter: str, orig_weight: torch.Tensor) -> torch.Tensor:
        """Refuse to be merged, as PEFT's layers ask for it."""
        raise ValueError(f"The adapter {active_adapter!r} cannot be merged: {NO_MERGE}.")

    merge_unsafe = merge_safe


def backbone_of(model: Any) -> nn.Module:  # PEFT's wrappers and transformers' models share no type
    """Return the backbone of a causal language model, which PEFT may have wrapped."""
    return (model.get_base_model() if hasattr(model, "get_base_model") else model).base_model


def gate_of(backbone: nn.Module) -> DraftGate | None:
    """Return the gate of a backbone; None where it has no gated adapter."""
    return getattr(backbone, PLACE, None)


def gate_adapter(model: Any, name: str = "default") -> DraftGate:  # as above
    """Let an adapter that was put into a model's layers act on draft rows alone; return the gate.

    Args:
        model: a causal language model of transformers, which PEFT may have wrapped.
        name: of the adapter.

    Raises:
        ValueError: a layer that is no linear one, such as an embedding, or PEFT is too old to have variants of LoRA.
    """
    layers: list[Any] = [layer for layer in model.modules() if name in getattr(layer, "lora_A", ())]
    others = [layer for layer in model.modules() if name in getattr(layer, "lora_embedding_A", ())]
    others += [layer for layer in layers if hasattr(layer, "parameter_name")]  # LoRA of a bare tensor, as of experts
    if others:
        kind = type(others[0].get_base_layer()).__name__
        raise ValueError(f"A gated adapter acts on linear layers, and one is of type {kind}; leave it out.")
    if not all(hasattr(layer, "lora_variant") for layer in layers):
        raise ValueError("This version of PEFT has no place for a gate in its layers; run pip install -U peft.")
    backbone = backbone_of(model)
    gate = gate_of(backbone)
    if gate is None:
        gate = DraftGate()
        setattr(backbone, PLACE, gate)
        backbone.register_forward_pre_hook(gate.take_rows, with_kwargs=True)
    for layer in layers:
        layer.lora_variant[name] = gate
    return gate
