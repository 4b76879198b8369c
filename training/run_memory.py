"""Compute the memory that a training run needs, before it needs it, from its model and its first batch."""

from collections.abc import Iterator

import torch
from transformers import PreTrainedModel, TrainingArguments

from ..loading.memory import readable
from ..loading.precision import machine_memory
from .chunked_loss import LOGITS_PER_CHUNK
from .row import NO_LABEL

# Bytes per trained number that an optimizer keeps, by a part of its name; others keep two float32 moments.
MOMENTS = {"8bit": 2, "4bit": 1, "adafactor": 0, "sgd": 0}
ADAM = 8
LOGITS_BYTES = 12  # of a logit, forward and backward in float32
SHARE = 0.9  # of the machine's memory, above which a run is warned of


def memory_lines(model: PreTrainedModel, args: TrainingArguments, batch: dict[str, torch.Tensor]) -> Iterator[str]:
    """Yield the computed memory of a run on one device as a line, and a warning where the machine has less.

    The formulas are those of docs/training.md; sharding over processes is left out.
    """
    parts = memory_parts(model, args, batch)
    total = sum(parts.values())
    listed = ", ".join(f"{name} {readable(size)}" for name, size in parts.items())
    yield f"memory   {readable(total)}, computed: {listed}"
    there = device_memory(args.device)
    if there and total > SHARE * there:
        yield (
            f"warning: this device has {readable(there)}; take a smaller batch, gradient_checkpointing: true, or LoRA "
            "(use_peft: true)."
        )


def memory_parts(model: PreTrainedModel, args: TrainingArguments, batch: dict[str, torch.Tensor]) -> dict[str, int]:
    """Return the bytes of each part of a run's memory."""
    parameters = list(model.parameters())
    trained = [parameter for parameter in parameters if parameter.requires_grad]
    numbers = sum(parameter.numel() for parameter in trained)
    optimizer = str(getattr(args.optim, "value", args.optim))
    kept = next((size for name, size in MOMENTS.items() if name in optimizer), ADAM)
    lines, length = batch["input_ids"].shape
    config = model.config.get_text_config()
    labels = int((batch["labels"] != NO_LABEL).sum())
    return {
        "weights": sum(parameter.numel() * parameter.element_size() for parameter in parameters),
        "gradients": sum(parameter.numel() * parameter.element_size() for parameter in trained),
        "optimizer": kept * numbers,
        "activations": activations_of(model, args, lines * length),
        "masks": lines * length * length,
        "logits": LOGITS_BYTES * min(LOGITS_PER_CHUNK, labels * config.vocab_size),
    }


def activations_of(model: PreTrainedModel, args: TrainingArguments, tokens: int) -> int:
    """Return the bytes of the activations of a forward: of all layers, or of one and the inputs of the others."""
    config = model.config.get_text_config()
    width, layers = config.hidden_size, config.num_hidden_layers
    inner = getattr(config, "intermediate_size", None) or 4 * width
    size = 2 if args.bf16 or args.fp16 else 4
    one = size * tokens * (6 * inner + 16 * width)
    return size * layers * tokens * width + one if args.gradient_checkpointing else layers * one


def device_memory(device: torch.device) -> int:
    """Return the bytes of memory of a device; 0 where it is not known."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[1]
    return machine_memory() if device.type == "cpu" else 0
