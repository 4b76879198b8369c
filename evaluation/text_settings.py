"""The settings of a text task: a checkpoint, a file of prompts, and which systems answer them."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..inference.decoding_fields import with_sampling
from .bars import Bar, no_bar
from .frontier import ALONE
from .shards import Shard
from .stamp import SEED
from .untouched_base import is_untouched, untouched_base
from .variants import TEXT_SYSTEMS, VARIANTS, Systems, choose_systems

BASE = "untouched base"  # the name of a system: the base, left to right
LEFT_TO_RIGHT = {"decoding": "autoregressive"}
MAX_NEW_TOKENS = 256


@dataclass(frozen=True)
class TextEvaluation:
    """A text task to run.

    model: folder or Hub repository of a checkpoint.
    prompts: file of prompts; the first `count` of them, or all.
    given_base: checkpoint that scores the answers and answers beside the model; None: the known one, if any.
    alone: prompts, from the first one on, that are also answered one at a time.
    temperature: sampling temperature of every system; None: as the checkpoints say.
    everything: measure all systems, not only a few; decoding: only those of one decoder.
    as_json: print one JSON object instead of tables.
    bar: opens a progress bar.
    shard: answer only this share of the batches.

    Raises:
        ValueError: a number below 1.
    """

    model: str
    prompts: Path
    given_base: str | None = None
    count: int | None = None
    batch_size: int = 8
    max_new_tokens: int = MAX_NEW_TOKENS
    alone: int = ALONE
    temperature: float | None = None
    everything: bool = False
    decoding: str | None = None
    as_json: bool = False
    bar: Bar = field(default=no_bar, compare=False, repr=False)
    shard: Shard | None = None

    def __post_init__(self) -> None:
        for name in ("count", "batch_size", "max_new_tokens", "alone"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} is {value}; give 1 or more.")

    @property
    def base(self) -> str | None:
        """Return the checkpoint that scores the answers; None where none was given or is known.

        Raises:
            ValueError: an adapter whose base is not there.
        """
        return self.given_base or untouched_base(self.model)

    @property
    def fields(self) -> dict[str, Any]:
        """Return the fields of `generate` that all systems share."""
        sampling = {} if self.temperature is None else with_sampling({"temperature": self.temperature})
        return {"max_new_tokens": self.max_new_tokens, "seed": SEED, **sampling}

    @property
    def systems(self) -> Systems:
        """Return the systems of the model; one that has not learned to plan answers left to right only.

        Raises:
            ValueError: no system uses that decoder.
        """
        if self.decoding is not None or self.everything:
            return choose_systems(VARIANTS, self.decoding)
        return choose_systems(TEXT_SYSTEMS, LEFT_TO_RIGHT["decoding"] if is_untouched(self.model) else None)

    @property
    def batch_sizes(self) -> tuple[int, ...]:
        """Return the numbers of prompts that are answered together: in batches, and alone."""
        return tuple(dict.fromkeys((self.batch_size, 1)))
