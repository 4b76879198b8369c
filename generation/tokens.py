"""The control tokens of a checkpoint: ids come from its configuration, no number is written into code."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

# How a tokenizer spells the control tokens; the same in the published checkpoints.
SPELLING = {
    "promise_start_token_id": "<promise>-<topic>",
    "topic_end_token_id": "</topic>",
    "async_start_token_id": "<async>",
    "async_end_token_id": "</async>",
    "sync_token_id": "<sync/>",
    "span_pad_token_id": "[PAD]",
}


@dataclass(frozen=True)
class ControlTokens:
    """Ids of the control tokens and of the digits; `eos` lists every id that ends an answer, the config's own first.

    `repeat_promises` says that a span begins with its promise again (plan.py, `opening_of`).
    """

    mask: int
    promise_start: int
    topic_end: int
    async_start: int
    async_end: int
    sync: int
    span_pad: int
    eos: tuple[int, ...]
    digits: tuple[int, ...]
    repeat_promises: bool = False

    @classmethod
    def from_config(cls, config: Any, more_eos: tuple[int, ...] = ()) -> "ControlTokens":
        """Read them from a `PlannedDiffusionConfig`; `more_eos` adds ids that also end an answer.

        Raises:
            ValueError: ids are missing, outside the vocabulary, or given twice.
        """
        ids = {field: getattr(config, field) for field in ("mask_token_id", *SPELLING, "eos_token_id")}
        eos_ids = ids["eos_token_id"] if isinstance(ids["eos_token_id"], (list, tuple)) else [ids["eos_token_id"]]
        missing = [field for field, value in ids.items() if value is None]
        if config.digit_token_ids is None:
            missing.append("digit_token_ids")
        if missing:
            raise ValueError(
                f"This checkpoint's config has no {', '.join(missing)}, so it cannot plan; add the control tokens to "
                "tokenizer and config, or decode with decoding='autoregressive'."
            )
        assert eos_ids is not None and config.digit_token_ids is not None
        values = [value for field, value in ids.items() if field != "eos_token_id"]
        values += [*eos_ids, *config.digit_token_ids]
        outside = [value for value in values if not 0 <= value < config.vocab_size]
        if outside:
            raise ValueError(f"Control or digit ids {outside} lie outside the vocabulary of {config.vocab_size} ids.")
        if len(set(values)) < len(values):
            raise ValueError(
                f"Control and digit ids must differ from each other; the config has {ids} and digits "
                f"{config.digit_token_ids}."
            )
        fields: dict[str, Any] = {field.removesuffix("_token_id"): value for field, value in ids.items()}
        fields["eos"] = tuple(dict.fromkeys((*eos_ids, *more_eos)))
        return cls(**fields, digits=tuple(config.digit_token_ids), repeat_promises=config.repeat_promises)

    @classmethod
    def none(cls, eos: tuple[int, ...], **known: int | None) -> "ControlTokens":
        """Make the tokens of a checkpoint that lacks tags, for decoders that need none; -1 stands for a missing one."""
        names = ("mask", *(field.removesuffix("_token_id") for field in SPELLING))
        ids: dict[str, Any] = {name: -1 if known.get(name) is None else known[name] for name in names}
        return cls(**ids, eos=eos, digits=())

    @cached_property
    def tags(self) -> frozenset[int]:
        """Every control id but EOS: the ids that plain text never contains."""
        ids = (
            self.mask,
            self.promise_start,
            self.topic_end,
            self.async_start,
            self.async_end,
            self.sync,
            self.span_pad,
        )
        return frozenset(ids) - {-1}

    @property
    def padding(self) -> int:
        """The id that fills the rest of a span or canvas: `[PAD]`, or EOS where a checkpoint has none."""
        return self.span_pad if self.span_pad >= 0 else self.eos[0]

    @cached_property
    def all(self) -> frozenset[int]:
        """Every control id, EOS included: ids that the content of a span never contains, except for `[PAD]`."""
        return self.tags | frozenset(self.eos)


@dataclass(frozen=True)
class Allowed:
    """A set of tokens: `ids` alone (`only`), or all tokens but `ids`."""

    only: bool
    ids: frozenset[int]

    def __contains__(self, token: int) -> bool:
        return (token in self.ids) == self.only


EVERYTHING = Allowed(only=False, ids=frozenset())
