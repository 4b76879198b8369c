"""The knobs of the page: fields of `generate` that a person may turn, and their values as fields."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..generation.decoders.table import DECODERS
from ..inference.answer import Checkpoint
from ..inference.decoding_fields import with_sampling
from ..records.encoding import encode_prompt


@dataclass(frozen=True)
class Knob:
    """A number that a slider gives; `off` stands for None."""

    field: str
    label: str
    info: str
    least: float
    most: float
    step: float
    off: float | None = None


KNOBS = (
    Knob("length_scale", "Length", "factor on the lengths that the model promises", 0.25, 4, 0.05),
    Knob("confidence_threshold", "Threshold", "also write every word that is at least so sure; 0: off", 0, 1, 0.05, 0),
    Knob("steps_ratio", "Steps", "steps per token of the longest part; fewer write more at once", 0.1, 1, 0.05),
    Knob("plan_lookahead", "Lookahead", "tokens of the plan that are guessed and checked at once", 0, 8, 1),
    Knob("draft_tokens", "Drafts", "tokens that are guessed ahead in every part", 0, 16, 1),
    Knob("temperature", "Temperature", "0: the likeliest words", 0, 1.5, 0.05),
)
SHARED = ("temperature",)  # read by every decoder


class KnobFields:
    """Reads the knobs of one checkpoint.

    Args:
        checkpoint: its own fields are where the knobs stand at first.
    """

    def __init__(self, checkpoint: Checkpoint) -> None:
        self.checkpoint = checkpoint
        self.decoders = [name for name in DECODERS if _runs(checkpoint, name)]
        own = str(checkpoint.field("decoding", {}))
        self.decoding = own if own in self.decoders else self.decoders[0]

    def start(self, knob: Knob) -> float:
        """Return the value at which a knob stands at first."""
        value: Any = self.checkpoint.field(knob.field, {})
        if knob.field == "temperature" and not self.checkpoint.field("do_sample", {}):
            return 0.0
        if value is None:
            return knob.off or 0.0
        return min(knob.most, max(knob.least, value))

    def turns(self, knob: Knob, decoding: str) -> bool:
        """Tell whether a decoder reads a knob."""
        return knob.field in SHARED or knob.field in DECODERS[decoding].reads

    def fields(self, decoding: str, values: Sequence[float], most_tokens: float) -> dict[str, Any]:
        """Return the fields of `generate` for the decoder and values of the knobs, in the order of KNOBS.

        Raises:
            ValueError: a decoder that this checkpoint has not.
        """
        if decoding not in self.decoders:
            raise ValueError(f"The decoder {decoding!r} is none of this model's; choose one of the list.")
        fields: dict[str, Any] = {"decoding": decoding, "max_new_tokens": int(most_tokens)}
        for knob, value in zip(KNOBS, values, strict=True):
            if self.turns(knob, decoding) and value != self.start(knob):
                fields[knob.field] = None if value == knob.off else value if knob.step < 1 else int(value)
        return with_sampling(fields)

    def beside(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        """Return the fields for the same answer written left to right."""
        kept = ("max_new_tokens", "temperature", "do_sample", "seed")
        return {"decoding": "autoregressive"} | {name: fields[name] for name in kept if name in fields}


def _runs(checkpoint: Checkpoint, decoding: str) -> bool:
    """Tell whether a checkpoint can be decoded so: its tags may be missing."""
    try:
        checkpoint.request_for(encode_prompt(checkpoint.tokenizer, "Hello"), {"decoding": decoding})
    except ValueError:
        return False
    return True
