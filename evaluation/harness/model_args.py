"""The arguments of the model class: its own, and every field of `generate`.

lm_eval --model planned_diffusion --model_args pretrained=facts,decoding=planned,confidence_threshold=0.9 ...
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from ...inference.answer import check_fields
from ...inference.batch.batcher import batch_size_on
from ...inference.batch.tasks import field_names
from ...inference.decoding_fields import with_sampling
from ..planned_bound import SAMPLES, check_samples

WAYS = ("left_to_right", "planned")


@dataclass(frozen=True)
class ModelArgs:
    """The arguments of a model.

    pretrained: folder or Hub repository of a checkpoint or of an adapter, or an included one by name.
    dtype, device: as in `open_checkpoint`. In float32 a result does not depend on the batch.
    batch_size: prompts that run together, or "auto".
    max_batch_size: the most of them with "auto".
    max_length: tokens of context and answer; by default those of the model. An answer has at most the room that its
        context leaves; a context that leaves less than half, and less than the task asks for, loses its beginning.
    max_gen_toks: new tokens of an answer, where the task does not say.
    scores: "left_to_right", or "planned": a continuation with tags is scored by its plan and the bound of its spans.
    samples: draws for that bound.
    generation: fields of `generate`; those of a task come first.

    Raises:
        ValueError: an unknown argument, or a value out of range.
    """

    pretrained: str = "facts"
    dtype: str = "float32"
    device: str = "auto"
    batch_size: int | str = 1
    max_batch_size: int | None = None
    max_length: int | None = None
    max_gen_toks: int = 256
    scores: str = WAYS[0]
    samples: int = SAMPLES
    generation: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.scores not in WAYS:
            raise ValueError(f"scores is {self.scores!r}; choose one of {', '.join(WAYS)}.")
        for name in ("max_batch_size", "max_length", "max_gen_toks"):
            value = getattr(self, name)
            if value is not None and (not isinstance(value, int) or value < 1):
                raise ValueError(f"{name} is {value!r}; give a whole number, at least 1.")
        check_samples(self.samples)
        self.prompts_at_once("cpu")  # or it is refused
        check_fields(self.generation)

    @property
    def bound_samples(self) -> int | None:
        """Return the draws for a bound; None where all is scored from left to right."""
        return self.samples if self.scores == "planned" else None

    def prompts_at_once(self, kind: str) -> int:
        """Return how many prompts run together on a kind of device; "auto", also "auto:4", has one size for each.

        Raises:
            ValueError: neither a number nor "auto".
        """
        size = str(self.batch_size)
        if size.partition(":")[0] == "auto":
            return min(batch_size_on(kind), self.max_batch_size or batch_size_on(kind))
        if not size.isdigit() or int(size) < 1:
            raise ValueError(f"batch_size is {self.batch_size!r}; give a whole number, at least 1, or auto.")
        return int(size)


def read_model_args(given: Mapping[str, Any]) -> ModelArgs:
    """Sort arguments into those of the class and fields of `generate`.

    Raises:
        ValueError: one that is neither, or a value out of range.
    """
    own = {one.name for one in fields(ModelArgs)} - {"generation"}
    known = {name: value for name, value in given.items() if name in own and value is not None}
    rest = {name: value for name, value in given.items() if name not in own}
    unknown = [name for name in rest if name not in field_names()]
    if unknown:
        raise ValueError(
            f"{unknown[0]} is no argument of planned_diffusion; choose among {', '.join(sorted(own))}, and the fields "
            f"of generate: {', '.join(field_names())}."
        )
    return ModelArgs(**known, generation=with_sampling(rest))
