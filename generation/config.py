"""What a user may ask of `generate`: the fields, their defaults, and one `validate()`."""

import math
from collections.abc import Iterable

from transformers import CompileConfig, GenerationConfig

from ..configuration_planned_diffusion import SPAN_ATTENTIONS
from .decoders.adaptive_parallel import READS as ADAPTIVE_PARALLEL_READS
from .decoders.adaptive_parallel import adaptive_parallel
from .decoders.autoregressive import READS as AUTOREGRESSIVE_READS
from .decoders.autoregressive import autoregressive
from .decoders.block_diffusion import READS as BLOCK_DIFFUSION_READS
from .decoders.block_diffusion import block_diffusion
from .decoders.diffusion import READS as DIFFUSION_READS
from .decoders.diffusion import diffusion
from .decoders.fast_dllm import READS as FAST_DLLM_READS
from .decoders.fast_dllm import RUN_IN_BLOCK, fast_dllm
from .decoders.parallel_autoregressive import READS as PARALLEL_AUTOREGRESSIVE_READS
from .decoders.parallel_autoregressive import parallel_autoregressive
from .decoders.planned import READS as PLANNED_READS
from .decoders.planned import planned
from .decoders.self_verified import READS as SELF_VERIFIED_READS
from .decoders.self_verified import self_verified
from .decoders.unmasking import RULE_FIELDS, RULES
from .engine.scores import SCORES

# name -> generator function of a Request (decoders/)
DECODERS = {
    "planned": planned,
    "autoregressive": autoregressive,
    "diffusion": diffusion,
    "fast_dllm": fast_dllm,
    "adaptive_parallel": adaptive_parallel,
    "block_diffusion": block_diffusion,
    "parallel_autoregressive": parallel_autoregressive,
    "self_verified": self_verified,
}
# name -> the fields of OWN_DEFAULTS that it reads, beside those that every decoder reads
READS = {
    "planned": PLANNED_READS,
    "autoregressive": AUTOREGRESSIVE_READS,
    "diffusion": DIFFUSION_READS,
    "fast_dllm": FAST_DLLM_READS,
    "adaptive_parallel": ADAPTIVE_PARALLEL_READS,
    "block_diffusion": BLOCK_DIFFUSION_READS,
    "parallel_autoregressive": PARALLEL_AUTOREGRESSIVE_READS,
    "self_verified": SELF_VERIFIED_READS,
}
READ_BY_ALL = ("decoding", "output_trace", "seed")
MOST_TIMES = 1000  # of factors: more is a mistake
APD_SIZES = ("kv_window", "max_lookahead")
UNMASKINGS = (*SCORES, "random")
PLANNING = ("planned", "parallel_autoregressive", "self_verified")  # decoders that draft a plan, or fill a given one

OWN_DEFAULTS = {
    "decoding": "planned",
    "span_attention": None,
    "steps_ratio": 1.0,
    "confidence_threshold": None,
    "unmasking": "entropy",
    "unmasking_rule": "schedule",
    "confidence_factor": 1.0,
    "entropy_bound": 0.1,
    "window_blanks": 16,
    "window_tokens": 128,
    "block_size": 32,
    "block_cache": "dual",
    "mixture_weight": 0.7,
    "kv_window": 16,
    "max_lookahead": 100,
    "refine_share": 0.0,
    "plan_lookahead": 0,
    "length_scale": 1.0,
    "max_spans": 32,
    "max_rounds": 16,
    "close_padding": True,
    "suppress_in_spans": None,
    "keep_plan": False,
    "output_trace": False,
    "seed": None,
}
# Fields of GenerationConfig that mean here what they mean there.
SHARED_FIELDS = (
    "max_new_tokens", "max_length", "max_time", "do_sample", "temperature", "top_k", "top_p", "num_return_sequences",
    "return_dict_in_generate", "use_cache", "pad_token_id", "bos_token_id", "eos_token_id", "stop_strings",
    "compile_config",
)  # fmt: skip
METADATA = ("transformers_version", "_from_model_config", "_commit_hash", "_original_object_hash")


class PlannedDiffusionGenerationConfig(GenerationConfig):
    """The usual fields (max_new_tokens, do_sample, temperature, num_return_sequences, compile_config, ...), and:

    Args:
        decoding (`str`): name of a decoder, a key of `DECODERS`.
        span_attention (`str`, *optional*): "sparse" or "dense"; the model config's when omitted.
        steps_ratio (`float`): denoising steps of a round = its longest span x ratio; in (0, 1], above 1 for more steps
            than tokens.
        confidence_threshold (`float`, *optional*): also write every blank whose most likely token has at least this
            probability, in (0, 1].
        unmasking (`str`): the score by which blanks are chosen: "entropy", "confidence", "margin", or "random"
            (any order).
        unmasking_rule (`str`): how many are chosen: "schedule" (steps_ratio, confidence_threshold), "factor",
            "entropy_bound" or "deferred_commitment" (confidence_threshold).
        confidence_factor (`float`): of "factor": the n most confident, as long as (n + 1)(1 - the n-th) stays below.
        entropy_bound (`float`): of "entropy_bound", in nats: of the entropies written in a step, all but the largest.
        window_blanks, window_tokens (`int`): of "deferred_commitment": what its window holds at most.
        block_size (`int`): tokens of a block, of "block_diffusion" and "fast_dllm".
        block_cache (`str`): of "fast_dllm": "dual", "prefix" or "none".
        mixture_weight (`float`): of "adaptive_parallel": R, from 0 (the scorer decides) to 1 (all drafts are accepted).
        kv_window, max_lookahead (`int`): of "adaptive_parallel": W, the older tokens that run again, and M, the blanks.
        refine_share (`float`): after "planned" or "block_diffusion", this share of the answer, its least sure tokens,
            is written again with everything in sight; 0.25 to 0.5 in the paper, 0 for none.
        plan_lookahead (`int`): tokens of the plan that are guessed and checked in one forward; a greedy plan stays the
            same, a sampled one comes from the same distribution.
        length_scale (`float`): multiplies the lengths that the model promises.
        max_spans, max_rounds (`int`): caps that planning respects.
        close_padding (`bool`): a written `[PAD]` closes the rest of its span; without tags, EOS does so as well.
        suppress_in_spans (`list[int]`, *optional*): ids that spans may not contain; the control ids when omitted, []
            for the published behaviour.
        keep_plan (`bool`): sequences carry plan and tags as written.
        output_trace (`bool`): the trace lists every step's positions, tokens and scores.
        seed (`int` or `list[int]`, *optional*): of the noise when sampling; one for all prompts of a batch (each draws
            what it would draw alone) or one per prompt. Drawn from torch's generator when omitted.

    Raises:
        ValueError: an unknown field, one that has no meaning here (beams, penalties, ...), or a value out of range.
    """

    def __init__(self, **kwargs):
        for name in OWN_DEFAULTS.keys() & kwargs.keys():
            setattr(self, name, kwargs.pop(name))
        super().__init__(**kwargs)

    def __getattr__(self, name: str):
        """A field of ours that nobody has set: `set_fields` must not count it."""
        if name in OWN_DEFAULTS:
            return OWN_DEFAULTS[name]
        raise AttributeError(f"PlannedDiffusionGenerationConfig has no field {name}.")

    @classmethod
    def from_model_config(cls, model_config):
        # Tells transformers to start from the defaults: a model config holds no decoding fields.
        raise NotImplementedError("PlannedDiffusionGenerationConfig is not derived from a model config.")

    def validate(self, strict=False, user_set_attributes=None):
        """Checks every field; see the class for ranges. Nothing is only warned about, so `strict` changes nothing."""
        self._refuse_foreign_fields()
        _one_of("decoding", self.decoding, DECODERS)
        if self.span_attention is not None:
            _one_of("span_attention", self.span_attention, SPAN_ATTENTIONS)
        _one_of("unmasking", self.unmasking, UNMASKINGS)
        _number(
            "steps_ratio",
            self.steps_ratio,
            above=0,
            at_most=MOST_TIMES,
            meaning="the share of a span's tokens that steps are taken for",
        )
        _number(
            "confidence_threshold",
            self.confidence_threshold,
            above=0,
            at_most=1,
            meaning="a probability",
            optional=True,
        )
        self._check_rule()
        _number("mixture_weight", self.mixture_weight, at_least=0, at_most=1, meaning="the draft's share of the target")
        _number("refine_share", self.refine_share, at_least=0, at_most=1, meaning="of the answer's tokens; 0 for none")
        _one_of("block_cache", self.block_cache, RUN_IN_BLOCK)
        _number("length_scale", self.length_scale, above=0, at_most=MOST_TIMES, meaning="a factor on promised lengths")
        _number(
            "temperature", self.temperature, at_least=0, meaning="0 for greedy, 1 for the model's own", optional=True
        )
        _number("top_p", self.top_p, above=0, at_most=1, meaning="a probability", optional=True)
        _number("max_time", self.max_time, above=0, meaning="seconds", optional=True)
        for name in ("max_spans", "max_rounds", "window_blanks", "window_tokens", "block_size", *APD_SIZES):
            _whole(name, getattr(self, name))
        _whole("plan_lookahead", self.plan_lookahead, at_least=0)
        for name in ("max_new_tokens", "max_length", "top_k", "num_return_sequences"):
            # transformers writes top_k=0 for "off"
            _whole(name, getattr(self, name), optional=True, at_least=0 if name == "top_k" else 1)
        for name in ("close_padding", "keep_plan", "output_trace"):
            if not isinstance(getattr(self, name), bool):
                raise ValueError(f"{name} is {getattr(self, name)!r}; give True or False.")
        self._check_ids()
        if not isinstance(self.compile_config, (CompileConfig, type(None))):
            raise ValueError(f"compile_config is {self.compile_config!r}; give a CompileConfig of transformers.")
        if self.stop_strings is not None:
            texts = [self.stop_strings] if isinstance(self.stop_strings, str) else self.stop_strings
            if not (isinstance(texts, (list, tuple)) and texts and all(isinstance(one, str) and one for one in texts)):
                raise ValueError(
                    f"stop_strings is {self.stop_strings!r}; give a text or a list of texts, none of them empty."
                )
        seeds = self.seed if isinstance(self.seed, (list, tuple)) else [self.seed]
        if not all(seed is None or (isinstance(seed, int) and 0 <= seed < 2**63) for seed in seeds):
            raise ValueError(f"seed is {self.seed!r}; give a whole number of 0 or more, or one per prompt, below 2^63.")
        if (self.num_return_sequences or 1) > 1 and not self.samples:
            raise ValueError(
                f"num_return_sequences={self.num_return_sequences} would return equal answers; set do_sample=True."
            )

    def to_diff_dict(self):
        """What generation_config.json holds: fields of ours only where they differ from their defaults."""
        fields = super().to_diff_dict()
        return {name: value for name, value in fields.items() if value != OWN_DEFAULTS.get(name, object)}

    @property
    def set_fields(self) -> dict:
        """The fields of ours that were set, be it to their defaults."""
        return {name: value for name, value in self.__dict__.items() if name in OWN_DEFAULTS}

    @property
    def samples(self) -> bool:
        return bool(self.do_sample) and self.temperature != 0

    def _check_ids(self) -> None:
        for name in ("pad_token_id", "bos_token_id"):
            if not (getattr(self, name) is None or type(getattr(self, name)) is int):
                raise ValueError(f"{name} is {getattr(self, name)!r}; give a token id.")
        if not (self.eos_token_id is None or type(self.eos_token_id) is int or _are_ids(self.eos_token_id)):
            raise ValueError(f"eos_token_id is {self.eos_token_id!r}; give a token id, or a list of them.")
        if not (self.suppress_in_spans is None or _are_ids(self.suppress_in_spans)):
            raise ValueError(
                f"suppress_in_spans is {self.suppress_in_spans!r}; give a list of token ids, [] to suppress nothing."
            )

    def _check_rule(self) -> None:
        _one_of("unmasking_rule", self.unmasking_rule, RULES)
        _number("confidence_factor", self.confidence_factor, above=0, meaning="1 in the paper; higher writes more")
        _number("entropy_bound", self.entropy_bound, at_least=0, meaning="nats; higher writes more")
        if self.unmasking_rule == "entropy_bound" and self.unmasking != "entropy":
            raise ValueError(
                f"unmasking_rule='entropy_bound' adds up entropies, but unmasking is {self.unmasking!r}; leave it at "
                "'entropy'."
            )
        if self.unmasking_rule == "deferred_commitment" and self.confidence_threshold is None:
            raise ValueError(
                "unmasking_rule='deferred_commitment' writes what reaches confidence_threshold; set it, to 0.9 say."
            )

    def refuse_unread(self, given: Iterable[str]) -> None:
        """Raises ValueError if a field of ours in `given` is set to something that this decoding never reads."""
        own = [name for name in given if name in OWN_DEFAULTS and getattr(self, name) != OWN_DEFAULTS[name]]
        reads = READS[self.decoding]
        useless = [name for name in own if name not in reads and name not in READ_BY_ALL]
        if useless:
            others = [name for name in DECODERS if set(useless) <= set(READS[name])]
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
                f"another of {', '.join(RULES)}."
            )

    def _refuse_foreign_fields(self) -> None:
        neutral, theirs = GenerationConfig._get_default_generation_params(), GenerationConfig().__dict__
        for name, value in self.__dict__.items():
            if name in OWN_DEFAULTS or name in SHARED_FIELDS or name in METADATA:
                continue
            if name in theirs and (value is None or value is False or value == neutral.get(name)):
                continue
            if name in theirs:
                raise ValueError(
                    f"{name}={value!r} has no meaning for planned diffusion; leave it out (fields: "
                    f"{', '.join((*SHARED_FIELDS, *OWN_DEFAULTS))})."
                )
            raise ValueError(
                f"{name} is no generation field; choose among {', '.join((*SHARED_FIELDS, *OWN_DEFAULTS))}."
            )


def _are_ids(value) -> bool:
    return isinstance(value, (list, tuple)) and all(type(token) is int for token in value)


def _one_of(name: str, value, choices) -> None:
    if not isinstance(value, str) or value not in choices:
        raise ValueError(f"{name} is {value!r}; choose one of {', '.join(choices)}.")


def _number(name, value, meaning, above=None, at_least=None, at_most=None, optional=False) -> None:
    if value is None and optional:
        return
    fits = (
        isinstance(value, (int, float))
        and not isinstance(value, bool)
        and math.isfinite(value)
        and (above is None or value > above)
        and (at_least is None or value >= at_least)
        and (at_most is None or value <= at_most)
    )
    if not fits:
        low = f"above {above}" if above is not None else f"of at least {at_least}"
        high = "" if at_most is None else f" and at most {at_most}"
        raise ValueError(f"{name} is {value!r}; give a number {low}{high} ({meaning}).")


def _whole(name, value, optional=False, at_least=1) -> None:
    if value is None and optional:
        return
    if isinstance(value, bool) or not isinstance(value, int) or value < at_least:
        raise ValueError(f"{name} is {value!r}; give a whole number of at least {at_least}.")
