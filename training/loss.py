"""Compute the loss of a batch, on exactly those tokens that carry a label.

K labelled tokens of the batch.
"""

from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import nn
from transformers import PreTrainedModel

from ..generation.draft_gate import ARGUMENT, backbone_of, gate_of
from ..generation.visibility import DRAFT, Labels, attention_mask
from .chunked_loss import losses_in_place_of_logits
from .row import LOSS_PARTS, NO_LABEL, SPAN


@dataclass(frozen=True)
class Loss:
    """The loss of a batch: `total` float32 scalar, differentiable; not yet divided by the normaliser.

    `by_loss_part`, float32 [5], detached: sums of cross entropy in nats, weighted by 1/t in the spans, by 1 elsewhere.
    """

    total: torch.Tensor
    by_loss_part: torch.Tensor


def planned_diffusion_loss(
    model: nn.Module, batch: dict[str, torch.Tensor], unwrapped: nn.Module | None = None, chunk_size: int | None = None
) -> Loss:
    """Return the loss of a batch: one forward through the model, its head on the K labelled tokens only, in chunks.

    Only the public forward is called, so wrappers and FSDP see an ordinary step.

    Args:
        model: the model, which may be wrapped (DistributedDataParallel, PEFT, autocast).
        unwrapped: the model inside the wrappers, whose head and configuration are read; by default `model` itself.
        chunk_size: labelled tokens whose logits exist at a time (see `chunked_loss`).

    Raises:
        ValueError: an attention implementation that cannot express spans.
    """
    losses = token_losses(model, batch, unwrapped, chunk_size)
    labelled = batch["labels"].flatten() != NO_LABEL
    weights, loss_part = (batch[name].flatten()[labelled] for name in ("loss_weights", "loss_part"))
    reported = losses.detach() * torch.where(loss_part == SPAN, weights, 1.0)
    by_loss_part = reported.new_zeros(len(LOSS_PARTS)).index_add_(0, loss_part, reported)
    return Loss(total=(losses * weights).sum(), by_loss_part=by_loss_part)


def token_losses(
    model: nn.Module, batch: dict[str, torch.Tensor], unwrapped: nn.Module | None = None, chunk_size: int | None = None
) -> torch.Tensor:
    """Return the cross entropy of every labelled token of a batch, in nats and in order: float32 [K].

    Arguments and errors are those of `planned_diffusion_loss`.
    """
    inner = cast(PreTrainedModel, model if unwrapped is None else unwrapped)
    head = inner.get_output_embeddings()
    assert head is not None  # a model that was built has one
    targets = batch["labels"].flatten()
    places = torch.nonzero(targets != NO_LABEL).squeeze(1)  # [K]
    with losses_in_place_of_logits(head, places, targets[places], chunk_size):
        output = model(**inputs_of(inner, batch))
    # Not logits: the head was made to return cross entropies, and the model passes them on under its usual name.
    losses = output.logits  # float32 [K]
    assert losses.shape == places.shape, "the head returned logits where losses_in_place_of_logits expects losses"
    return losses


def inputs_of(model: PreTrainedModel, batch: dict[str, torch.Tensor]) -> dict[str, Any]:
    """Return the arguments of a model's forward, or of its backbone's, for a batch: ids, positions and the mask.

    A gated adapter is told which rows are drafts.

    Raises:
        ValueError: an attention implementation that cannot express spans.
    """
    names = ("document", "span", "round", "stream")
    labels = Labels(*(batch[name] for name in names), position=batch["position_ids"])
    implementation = model.config.get_text_config()._attn_implementation
    assert implementation is not None  # a model that was built has one
    gated = {} if gate_of(backbone_of(model)) is None else {ARGUMENT: labels.stream >= DRAFT}
    return {
        "input_ids": batch["input_ids"],
        "attention_mask": attention_mask(labels, labels, implementation, model.dtype),
        "position_ids": batch["position_ids"],
        "use_cache": False,
        **gated,
    }
