"""From a batch to one number: the loss on exactly those rows that carry a label."""

from dataclasses import dataclass

import torch
from torch import nn

from ..generation.visibility import Labels, attention_mask
from .chunked_loss import head_gives_losses
from .row import NO_LABEL, PARTS, SPAN


@dataclass(frozen=True)
class Loss:
    """`total` float32 scalar, differentiable: the weighted sum over labels, not yet divided by the normaliser.

    `by_part`, float32 [4], detached: sums of cross entropy, in nats, weighted by 1/t in the spans and by 1 elsewhere.
    """

    total: torch.Tensor
    by_part: torch.Tensor


def planned_diffusion_loss(
    model: nn.Module, batch: dict[str, torch.Tensor], unwrapped: nn.Module | None = None, chunk_rows: int | None = None
) -> Loss:
    """The objective of a batch: one forward through the model, its head on the K labelled rows only, in chunks.

    `model` may be wrapped (DistributedDataParallel, PEFT, autocast); `unwrapped` is then the model inside, whose head
    and configuration are read. Only the public forward is called, so wrappers and FSDP see an ordinary step.

    Args:
        chunk_rows: rows whose logits exist at a time (see `row_losses`).

    Raises:
        ValueError: an attention implementation that cannot express spans.
    """
    unwrapped = model if unwrapped is None else unwrapped
    names = ("document", "span", "round", "stream")
    labels = Labels(*(batch[name] for name in names), position=batch["position_ids"])
    implementation = unwrapped.config.get_text_config()._attn_implementation
    mask = attention_mask(labels, labels, implementation, unwrapped.dtype)
    rows = torch.nonzero(batch["labels"].flatten() != NO_LABEL).squeeze(1)  # [K]
    targets, weights, part = (batch[name].flatten()[rows] for name in ("labels", "loss_weights", "part"))
    with head_gives_losses(unwrapped.get_output_embeddings(), rows, targets, chunk_rows):
        losses = model(
            input_ids=batch["input_ids"], attention_mask=mask, position_ids=batch["position_ids"], use_cache=False
        ).logits  # [K], not logits: cross entropies
    reported = losses.detach() * torch.where(part == SPAN, weights, 1.0)
    by_part = reported.new_zeros(len(PARTS)).index_add_(0, part, reported)
    return Loss(total=(losses * weights).sum(), by_part=by_part)
