"""The generation config: fields of `generate` with their defaults, checked together; each stands in fields.py."""

from collections.abc import Iterable
from typing import Any

from transformers import CompileConfig, GenerationConfig

from .decoders.decoder import Decoder
from .decoders.table import DECODERS
from .decoders.unmasking import RULE_FIELDS
from .field_checks import check_choice
from .fields import FIELDS, READ_BY_ALL, SHARED_FIELDS
from .neutral_values import IGNORED_ARGUMENTS, is_neutral

METADATA = ("transformers_version", "_from_model_config", "_commit_hash", "_original_object_hash")


class PlannedDiffusionGenerationConfig(GenerationConfig):
    """The usual fields (max_new_tokens, do_sample, temperature, num_return_sequences, compile_config, ...), and ours.

    Raises:
        ValueError: an unknown field, a field without meaning here (beams, penalties, ...), or a value out of range.
    """

    def __init__(self, **kwargs: Any) -> None:
        for name in FIELDS.keys() & kwargs.keys():
            setattr(self, name, kwargs.pop(name))
        super().__init__(**kwargs)

    def __getattr__(self, name: str) -> Any:
        """Return the default of a field that was never set; it stays out of `__dict__`: it is not set."""
        if name in FIELDS:
            return FIELDS[name].default
        raise AttributeError(f"PlannedDiffusionGenerationConfig has no field {name}.")

    @classmethod
    def from_model_config(cls, model_config: object) -> "PlannedDiffusionGenerationConfig":
        """Refuse, which makes transformers start from the defaults: a model config holds no decoding fields."""
        raise NotImplementedError("PlannedDiffusionGenerationConfig is not derived from a model config.")

    @property
    def decoder(self) -> Decoder:
        """The chosen decoder."""
        return DECODERS[self.decoding]

    @property
    def samples(self) -> bool:
        """Whether tokens are sampled."""
        return bool(self.do_sample) and self.temperature != 0

    def to_diff_dict(self) -> dict[str, Any]:
        """Return the content of generation_config.json: fields of ours only where they differ from their defaults."""
        fields = super().to_diff_dict()
        return {name: value for name, value in fields.items() if name not in FIELDS or value != FIELDS[name].default}

    def validate(self, strict: bool = False, user_set_attributes: object = None) -> None:
        """Check every field, alone and together. Nothing is only warned about, so `strict` changes nothing."""
        self._refuse_foreign_fields()
        for name, field in (FIELDS | SHARED_FIELDS).items():
            field.check(name, getattr(self, name, None))
        check_choice("decoding", self.decoding, DECODERS)
        self._check_rule()
        if not isinstance(self.compile_config, (CompileConfig, type(None))):
            raise ValueError(f"compile_config is {self.compile_config!r}; give a CompileConfig of transformers.")
        if (self.num_return_sequences or 1) > 1 and not self.samples:
            raise ValueError(
                f"num_return_sequences={self.num_return_sequences} would return equal answers; set do_sample=True."
            )

    def refuse_unread(self, given: Iterable[str]) -> None:
        """Refuse fields of ours among `given` that are set to something this decoding never reads.

        Raises:
            ValueError: names them, and the decoders or rules that read them.
        """
        own = [name for name in given if name in FIELDS and getattr(self, name) != FIELDS[name].default]
        reads = self.decoder.reads
        useless = [name for name in own if name not in reads and name not in READ_BY_ALL]
        if useless:
            others = [name for name, decoder in DECODERS.items() if set(useless) <= set(decoder.reads)]
            raise ValueError(
                f"decoding={self.decoding!r} has no use for {', '.join(useless)}; leave it out"
                + (f", or choose decoding={' or '.join(map(repr, others))}." if others else ".")
            )
        of_other_rules = {name for fields in RULE_FIELDS.values() for name in fields}
        of_other_rules -= set(RULE_FIELDS[self.unmasking_rule])
        useless = [name for name in own if name in of_other_rules and "unmasking_rule" in reads]
        if useless:
            raise ValueError(
                f"unmasking_rule={self.unmasking_rule!r} has no use for {', '.join(useless)}; leave it out, or choose "
                f"another of {', '.join(RULE_FIELDS)}."
            )

    def _check_rule(self) -> None:
        if self.unmasking_rule == "entropy_bound" and self.unmasking != "entropy":
            raise ValueError(
                f"unmasking_rule='entropy_bound' adds up entropies, but unmasking is {self.unmasking!r}; leave it at "
                "'entropy'."
            )
        if self.unmasking_rule == "deferred_commitment" and self.confidence_threshold is None:
            raise ValueError(
                "unmasking_rule='deferred_commitment' writes the tokens that reach confidence_threshold; set it, to "
                "0.9 say."
            )

    def _refuse_foreign_fields(self) -> None:
        theirs = GenerationConfig().__dict__
        ours = ", ".join((*SHARED_FIELDS, *FIELDS))
        for name, value in self.__dict__.items():
            if name in FIELDS or name in SHARED_FIELDS or name in METADATA or name in IGNORED_ARGUMENTS:
                continue
            if name not in theirs:
                raise ValueError(f"{name} is no generation field; choose among {ours}.")
            if not is_neutral(name, value):
                raise ValueError(
                    f"{name}={value!r} has no meaning for planned diffusion; leave it out (fields: {ours})."
                )


def _with_fields(docstring: str) -> str:
    """Return a class docstring with the fields of ours as its arguments."""
    lines = [f"        {name} (default {field.default!r}): {field.meaning}" for name, field in FIELDS.items()]
    return docstring.replace("    Raises:", "\n".join(["    Args:", *lines, "", "    Raises:"]))


PlannedDiffusionGenerationConfig.__doc__ = _with_fields(PlannedDiffusionGenerationConfig.__doc__ or "")
