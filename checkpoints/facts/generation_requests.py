"""From arguments to requests: prompts without their padding, given plans checked, settings with all their numbers.

Everything that a caller can get wrong about one generation is found here, before anything runs.
"""

from dataclasses import fields
from functools import lru_cache

import torch
from transformers.generation import LogitsProcessorList, MaxTimeCriteria, StoppingCriteriaList, StopStringCriteria

from .generation_config import OWN_DEFAULTS, PLANNING, READS, PlannedDiffusionGenerationConfig
from .generation_grammar import RoundGrammar
from .generation_plan import Plan, PlanError, Round, Span, Unit, parse_round, write_round
from .generation_query import Request, Sampling, Settings, never
from .generation_tokens import SPELLING, ControlTokens

DEFAULT_NEW_TOKENS = 1024
# Fields that decoders read as they are.
SAME_SETTINGS = ({field.name for field in fields(Settings)} & set(OWN_DEFAULTS)) - {"suppress_in_spans"}


class RequestMaker:
    """Makes the requests of one call of `generate`.

    Args:
        model_config: the checkpoint's `PlannedDiffusionConfig`.
        config: the fields of this call.
        tokenizer: reads topics that are given as text; None where there is none.
        has_assistant: there is a model to score drafts.

    Raises:
        ValueError: in every method, for what cannot be used; the message says what to do.
    """

    def __init__(
        self, model_config, config: PlannedDiffusionGenerationConfig, tokenizer=None, has_assistant: bool = False
    ):
        self.model_config, self.config, self.tokenizer = model_config, config, tokenizer
        self.has_assistant = has_assistant
        self.tokens = self._control_tokens()
        self.unit = Unit(model_config.tokens_per_length_unit * config.length_scale)
        self._check_vocabulary("This checkpoint's config", self.tokens.tags)
        self._check_vocabulary("eos_token_id", self.tokens.eos)
        self._check_vocabulary("suppress_in_spans", config.suppress_in_spans or ())

    def prompts(self, input_ids, attention_mask) -> list[tuple[int, ...]]:
        """The rows of the batch without padding."""
        if not isinstance(input_ids, torch.Tensor) or input_ids.dim() != 2:
            got = f"has shape {list(input_ids.shape)}" if isinstance(input_ids, torch.Tensor) else "is no tensor"
            got = "has shape None" if input_ids is None else got
            raise ValueError(f"input_ids {got}; give token ids of shape [prompts, tokens].")
        if input_ids.dtype.is_floating_point:
            raise ValueError(f"input_ids are {input_ids.dtype}; give whole numbers, the ids of a tokenizer.")
        if 0 in input_ids.shape:
            raise ValueError(f"input_ids of shape {list(input_ids.shape)} hold no prompt; give at least one token.")
        if attention_mask is None:
            pad = self.config.pad_token_id
            guess = pad is not None and pad not in self._eos_ids()
            attention_mask = input_ids != pad if guess else torch.ones_like(input_ids)
        if not isinstance(attention_mask, torch.Tensor) or attention_mask.shape != input_ids.shape:
            is_tensor = isinstance(attention_mask, torch.Tensor)
            got = f"has shape {list(attention_mask.shape)}" if is_tensor else "is no tensor"
            raise ValueError(
                f"attention_mask {got}; give one of input_ids' shape {list(input_ids.shape)}, 1 where a token stands."
            )
        rows = zip(input_ids.tolist(), attention_mask.bool().tolist(), strict=True)
        prompts = [tuple(token for token, real in zip(*row, strict=True) if real) for row in rows]
        for index, prompt in enumerate(prompts):
            if not prompt:
                raise ValueError(f"Prompt {index} is all padding; leave it out of the batch.")
            if len(prompt) >= self._positions():
                raise ValueError(
                    f"Prompt {index} has {len(prompt)} tokens, and this model has {self._positions()} positions for "
                    "prompt and answer together; shorten it."
                )
            self._check_vocabulary(f"Prompt {index}", prompt)
        return prompts

    def _check_vocabulary(self, what: str, ids) -> None:
        size = self.model_config.vocab_size
        wrong = [token for token in ids if not 0 <= token < size]
        if wrong:
            raise ValueError(
                f"{what} has token id {wrong[0]}, outside the vocabulary of {size}; encode it "
                "with this checkpoint's tokenizer."
            )

    def _positions(self) -> int:
        """Positions that a document may have: the trained ones, or the window where layers attend within one.

        Span masks are given ready-made, and transformers applies a ready mask to sliding layers as it is.
        """
        backbone = self.model_config.get_text_config()
        positions = backbone.max_position_embeddings
        if "sliding_attention" in (getattr(backbone, "layer_types", None) or ()) and backbone.sliding_window:
            positions = min(positions, backbone.sliding_window)
        return positions

    def requests(self, prompts, plan, logits_processor, stopping_criteria, device) -> list[Request]:
        """One request per returned sequence, in order."""
        plans = self._plans(plan, len(prompts))
        separator = ()
        if self.model_config.span_separator and self.tokenizer is not None:
            separator = tuple(self.tokenizer.encode(self.model_config.span_separator, add_special_tokens=False))
        criteria = self._criteria(stopping_criteria)
        requests = []
        for index, prompt in enumerate(prompts):
            settings = self._settings(len(prompt), plans[index])
            seed = self._seed(index, len(prompts))
            requests += [
                Request(
                    prompt_ids=prompt,
                    tokens=self.tokens,
                    unit=self.unit,
                    settings=settings,
                    sampling=self._sampling(seed + number),
                    plan=plans[index],
                    separator_ids=separator,
                    should_stop=_stopper(criteria, device) if criteria else never,
                    process=_processor(logits_processor) if logits_processor else None,
                    has_assistant=self.has_assistant,
                )
                for number in range(self.config.num_return_sequences or 1)
            ]
        return requests

    def _criteria(self, given) -> StoppingCriteriaList:
        """The caller's criteria, and those that fields ask for."""
        criteria = StoppingCriteriaList([given] if callable(given) and not isinstance(given, list) else given or [])
        if self.config.max_time is not None:
            criteria.append(MaxTimeCriteria(self.config.max_time))
        if self.config.stop_strings is not None:
            if self.tokenizer is None:
                raise ValueError(
                    "stop_strings are text and this model came without a tokenizer; pass tokenizer=... to generate."
                )
            stop = self.config.stop_strings
            criteria.append(_stop_strings(self.tokenizer, (stop,) if isinstance(stop, str) else tuple(stop)))
        return criteria

    def _sampling(self, seed: int) -> Sampling:
        config = self.config
        temperature = 1.0 if config.temperature is None else config.temperature
        return Sampling(
            temperature=temperature if config.samples else 0.0,
            top_k=config.top_k or None,
            top_p=config.top_p,
            score="confidence" if config.unmasking == "random" else config.unmasking,
            seed=seed,
        )

    def _control_tokens(self) -> ControlTokens:
        """The checkpoint's control tokens; one that cannot plan may still decode without tags."""
        more_eos, decoding = self._eos_ids(), self.config.decoding
        if decoding in PLANNING:
            return ControlTokens.from_config(self.model_config, more_eos)
        if decoding != "autoregressive" and (self.model_config.mask_token_id is None or not more_eos):
            missing = "eos_token_id" if self.model_config.mask_token_id is not None else "mask_token_id"
            raise ValueError(
                f"This checkpoint's config has no {missing}, so decoding={decoding!r} cannot fill and end an answer; "
                "set it, or decode with decoding='autoregressive'."
            )
        fields = ("mask_token_id", *SPELLING)
        known = {field.removesuffix("_token_id"): getattr(self.model_config, field) for field in fields}
        return ControlTokens.none(more_eos, **known)

    def _eos_ids(self) -> tuple[int, ...]:
        """Ids that end an answer: those of the generation config; in plans also, and first, the model config's own.

        The backbone's where nothing else is said.
        """
        own, given = as_ids(self.model_config.eos_token_id), as_ids(self.config.eos_token_id)
        ids = (*own, *given) if self.config.decoding in PLANNING else given or own
        return tuple(dict.fromkeys(ids or as_ids(self.model_config.get_text_config().eos_token_id)))

    def _settings(self, prompt_length: int, plan: Plan | None) -> Settings:
        config, unit = self.config, self.unit
        left = self._positions() - prompt_length
        room = config.max_new_tokens
        if room is None and config.max_length is not None:
            room = config.max_length - prompt_length
            if room < 1:
                raise ValueError(
                    f"max_length={config.max_length} leaves nothing after a prompt of {prompt_length} tokens; raise "
                    "it, or set max_new_tokens."
                )
        room = min(DEFAULT_NEW_TOKENS if room is None else room, left)
        if plan is not None:
            needed = sum(len(part.plan_ids) + 1 + sum(2 + span.length for span in part.spans) for part in plan.rounds)
            _check_room(room, needed, "the given plan needs", left)
        elif config.decoding in PLANNING:
            _check_room(room, RoundGrammar.shortest(unit), "the shortest plan with its span needs", left)
        by_default = config.block_size == OWN_DEFAULTS["block_size"]  # and then the last block is as long as it can be
        if "block_size" in READS[config.decoding] and config.block_size > room and not by_default:
            raise ValueError(
                f"block_size is {config.block_size}, but there is room for {room} new tokens; lower it, or raise "
                "max_new_tokens."
            )
        return Settings(
            max_new_tokens=room,
            dense=(config.span_attention or self.model_config.span_attention) == "dense",
            random_order=config.unmasking == "random",
            suppress_in_spans=self._suppressed(),
            **{name: getattr(config, name) for name in SAME_SETTINGS},
        )

    def _suppressed(self) -> frozenset[int]:
        """Ids that spans may not contain; `[PAD]` ends a span early, and without tags EOS ends the answer."""
        config, tokens = self.config, self.tokens
        if config.suppress_in_spans is not None:
            return frozenset(config.suppress_in_spans)
        if config.decoding in PLANNING:
            return tokens.all - {tokens.span_pad}
        one_by_one = config.decoding == "block_diffusion" and config.block_size == 1  # no room behind an EOS
        return tokens.tags if one_by_one else tokens.tags - {tokens.span_pad}

    def _seed(self, index: int, prompts: int) -> int:
        config = self.config
        if not config.samples and config.unmasking != "random":
            return 0
        if isinstance(config.seed, (list, tuple)) and len(config.seed) != prompts:
            raise ValueError(
                f"seed lists {len(config.seed)} seeds for {prompts} prompts; give one each, or one number."
            )
        seed = config.seed[index] if isinstance(config.seed, (list, tuple)) else config.seed
        return int(torch.randint(2**31, ())) if seed is None else seed

    def _plans(self, plan, prompts: int) -> list[Plan | None]:
        """The plans that the caller gave, checked; None where the model plans itself."""
        if plan is None:
            return [None] * prompts
        if not isinstance(plan, (list, tuple)) or len(plan) != prompts:
            got = f"has {len(plan)} entries" if isinstance(plan, (list, tuple)) else f"is a {type(plan).__name__}"
            raise ValueError(f"plan {got} for {prompts} prompts; give a list with one entry per prompt.")
        return [self._plan(entry) for entry in plan]

    def _plan(self, entry) -> Plan | None:
        if entry is None:
            return None
        if isinstance(entry, Plan):
            entry = entry.rounds
        if not isinstance(entry, (list, tuple)) or not entry:
            raise PlanError(
                f"A plan is {entry!r}; give a list of rounds, each a list of (topic, length) or of token ids."
            )

        rounds = [self._round(part, number, is_last=number == len(entry) - 1) for number, part in enumerate(entry)]
        for part in rounds:
            self._check_vocabulary("A plan", part.plan_ids)
            for span in part.spans:
                self._check_skeleton(span)
        sync = self.tokens.sync
        early = [number for number, part in enumerate(rounds[:-1]) if part.terminator != sync]
        if early:
            raise PlanError(
                f"Round {early[0]} of a plan ends in EOS, but more rounds follow; end it in <sync/> ({sync})."
            )
        return Plan(tuple(rounds))

    def _check_skeleton(self, span: Span) -> None:
        if span.skeleton is None:
            return
        self._check_vocabulary("A canvas", span.skeleton.ids)
        if self.config.decoding != "planned":
            raise PlanError(
                f"decoding={self.config.decoding!r} writes from left to right and cannot fill a canvas around known "
                "text; choose decoding='planned', or give lengths."
            )

    def _round(self, part, number: int, is_last: bool) -> Round:
        if isinstance(part, Round):
            return part
        if not isinstance(part, (list, tuple)):
            raise PlanError(f"Round {number} of a plan is {part!r}; give a list of (topic, length) or of token ids.")
        if part and all(isinstance(token, int) for token in part):
            return parse_round(part, self.tokens, self.unit)
        terminator = self.tokens.eos[0] if is_last else self.tokens.sync
        return write_round(part, terminator, self.tokens, self.unit, self._encode_topic)

    def _encode_topic(self, text: str) -> list[int]:
        if self.tokenizer is None:
            raise ValueError(
                f"The topic {text.strip()!r} is text and this model came without a tokenizer; pass tokenizer=... to "
                "generate, or give topics as token ids."
            )
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise ValueError(f"The text {text.strip()!r} of a plan holds half a character; use UTF-8.") from error
        return self.tokenizer.encode(text, add_special_tokens=False, split_special_tokens=True)


@lru_cache(maxsize=8)
def _stop_strings(tokenizer, strings: tuple[str, ...]) -> StopStringCriteria:
    """Reads the whole vocabulary, which takes a second where it is large; most requests have the same strings."""
    return StopStringCriteria(tokenizer, list(strings))


def _stopper(criteria, device):
    def should_stop(ids: list[int]) -> bool:
        return bool(criteria(torch.tensor([ids], device=device), None).all())

    return should_stop


def _processor(processors):
    if not isinstance(processors, LogitsProcessorList):
        processors = LogitsProcessorList([processors] if callable(processors) else processors)

    def process(ids: list[int], scores: torch.Tensor) -> torch.Tensor:
        return processors(torch.tensor([ids], device=scores.device), scores)

    return process


def as_ids(given) -> tuple[int, ...]:
    """Nothing, one id or several, as configurations give them."""
    return () if given is None else tuple(given) if isinstance(given, (list, tuple)) else (given,)


def _check_room(room: int, needed: int, what: str, left: int) -> None:
    if room < needed:
        remedy = "raise max_new_tokens" if room < left else f"shorten the prompt (the model has {left} positions left)"
        raise ValueError(f"There is room for {room} new tokens, but {what} {needed}; {remedy}.")
