"""From arguments to requests: prompts without their padding, and settings with all their numbers.

Everything that a caller can get wrong about one generation is found here, before anything runs.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from transformers import PreTrainedTokenizerBase

from ..configuration_planned_diffusion import PlannedDiffusionConfig
from .callbacks import CallbackReader
from .config import PlannedDiffusionGenerationConfig
from .fields import FIELDS, Settings
from .given_plans import PlanReader
from .plan import Plan, Unit
from .query import Request, Sampling
from .token_ids import as_ids, checked_input_ids, pad_id
from .tokens import SPELLING, ControlTokens

DEFAULT_NEW_TOKENS = 1024


class RequestMaker:
    """Makes the requests of one call of `generate`.

    Args:
        model_config: the checkpoint's configuration.
        generation_config: the fields of this call.
        tokenizer: encodes topics that are given as text; None where there is none.
        has_assistant: there is a model to score drafts.

    Raises:
        ValueError: in every method, for arguments that cannot be used; the message says what to do.
    """

    def __init__(
        self,
        model_config: PlannedDiffusionConfig,
        generation_config: PlannedDiffusionGenerationConfig,
        tokenizer: PreTrainedTokenizerBase | None = None,
        has_assistant: bool = False,
    ) -> None:
        self.model_config, self.generation_config = model_config, generation_config
        self.tokenizer, self.has_assistant = tokenizer, has_assistant
        if tokenizer is not None and not hasattr(tokenizer, "encode"):
            raise ValueError(f"tokenizer is {tokenizer!r}; give a tokenizer of transformers, or leave it out.")
        self.control = self._control_tokens()
        self.unit = Unit(model_config.tokens_per_length_unit * generation_config.length_scale)
        self._check_vocabulary("This checkpoint's config", self.control.tags)
        self._check_vocabulary("eos_token_id", self.control.eos)
        self._check_vocabulary("suppress_in_spans", generation_config.suppress_in_spans or ())

    def prompts(self, input_ids: torch.Tensor | None, attention_mask: torch.Tensor | None) -> list[tuple[int, ...]]:
        """Return the rows of a batch [B, N] without padding."""
        input_ids = checked_input_ids(input_ids)
        if attention_mask is None:
            pad = self.generation_config.pad_token_id
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
            self._check_prompt(index, prompt)
        return prompts

    def requests(
        self,
        prompts: Sequence[tuple[int, ...]],
        plan: Any,
        logits_processor: Any,
        stopping_criteria: Any,
        input_ids: torch.Tensor,
    ) -> list[Request]:
        """Return one request per returned sequence, in order.

        Args:
            prompts: as `prompts` returns them.
            plan, logits_processor, stopping_criteria: as in `generate`.
            input_ids: the padded prompts, on the device where callbacks get them.
        """
        reader = PlanReader(self.generation_config, self.control, self.unit, self.tokenizer, self._check_vocabulary)
        plans = reader.read(plan, len(prompts))
        separator = ()
        if self.model_config.span_separator and self.tokenizer is not None:
            separator = tuple(self.tokenizer.encode(self.model_config.span_separator, add_special_tokens=False))
        pad = pad_id(self.generation_config, self.control.eos)
        vocabulary = self.model_config.get_text_config().vocab_size
        callbacks = CallbackReader(self.generation_config, self.tokenizer, pad, self.control.eos, vocabulary)
        asked = callbacks.read(logits_processor, stopping_criteria, input_ids, prompts)
        requests = []
        for index, prompt in enumerate(prompts):
            settings = self._settings(len(prompt), plans[index])
            seed = self._seed(index, len(prompts))
            for number in range(self.generation_config.num_return_sequences or 1):
                calls = asked[len(requests)]
                requests.append(
                    Request(
                        prompt_ids=prompt,
                        control=self.control,
                        unit=self.unit,
                        settings=settings,
                        sampling=self._sampling(seed + number),
                        plan=plans[index],
                        separator_ids=separator,
                        should_stop=calls.should_stop,
                        process=calls.process,
                        has_assistant=self.has_assistant,
                        lockstep=calls.lockstep,
                    )
                )
        return requests

    def _check_prompt(self, index: int, prompt: tuple[int, ...]) -> None:
        if not prompt:
            raise ValueError(f"Prompt {index} is all padding; leave it out of the batch.")
        if len(prompt) >= self._positions():
            raise ValueError(
                f"Prompt {index} has {len(prompt)} tokens, and this model has {self._positions()} positions for "
                "prompt and answer together; shorten it."
            )
        self._check_vocabulary(f"Prompt {index}", prompt)

    def _check_vocabulary(self, what: str, ids: Iterable[int]) -> None:
        size = self.model_config.vocab_size
        wrong = [token for token in ids if not 0 <= token < size]
        if wrong:
            raise ValueError(
                f"{what} has token id {wrong[0]}, outside the vocabulary of {size}; encode it "
                "with this checkpoint's tokenizer."
            )

    def _positions(self) -> int:
        """Return the positions that a document may have: the trained ones, or the window of sliding layers.

        Span masks are given ready-made, and transformers applies a ready mask to sliding layers as it is.
        """
        backbone = self.model_config.get_text_config()
        positions = backbone.max_position_embeddings
        if "sliding_attention" in (getattr(backbone, "layer_types", None) or ()) and backbone.sliding_window:
            positions = min(positions, backbone.sliding_window)
        return positions

    def _control_tokens(self) -> ControlTokens:
        """Return the checkpoint's control tokens; a checkpoint that cannot plan may still decode without tags."""
        more_eos, decoder = self._eos_ids(), self.generation_config.decoder
        if decoder.plans:
            return ControlTokens.from_config(self.model_config, more_eos)
        if decoder.needs_mask and (self.model_config.mask_token_id is None or not more_eos):
            missing = "eos_token_id" if self.model_config.mask_token_id is not None else "mask_token_id"
            raise ValueError(
                f"This checkpoint's config has no {missing}, so decoding={self.generation_config.decoding!r} cannot "
                "fill and end an answer; set it, or decode with decoding='autoregressive'."
            )
        fields = ("mask_token_id", *SPELLING)
        known = {field.removesuffix("_token_id"): getattr(self.model_config, field) for field in fields}
        return ControlTokens.none(more_eos, **known)

    def _eos_ids(self) -> tuple[int, ...]:
        """Return the ids that end an answer: the generation config's, else the model config's, else the backbone's.

        Decoders with a plan always put the model config's id first.
        """
        own, given = as_ids(self.model_config.eos_token_id), as_ids(self.generation_config.eos_token_id)
        ids = (*own, *given) if self.generation_config.decoder.plans else given or own
        return tuple(dict.fromkeys(ids or as_ids(self.model_config.get_text_config().eos_token_id)))

    def _settings(self, prompt_length: int, plan: Plan | None) -> Settings:
        fields = self.generation_config
        room = self._room(prompt_length, plan)
        is_default = (
            fields.block_size == FIELDS["block_size"].default
        )  # and then the last block is as long as it can be
        if "block_size" in fields.decoder.reads and fields.block_size > room and not is_default:
            raise ValueError(
                f"block_size is {fields.block_size}, but there is room for {room} new tokens; lower it, or raise "
                "max_new_tokens."
            )
        settings = Settings(room, **{name: getattr(fields, name) for name in FIELDS}).but(
            span_attention=fields.span_attention or self.model_config.span_attention
        )
        if fields.suppress_in_spans is not None:
            return settings
        return settings.but(suppress_in_spans=fields.decoder.suppressed(self.control, settings))

    def _room(self, prompt_length: int, plan: Plan | None) -> int:
        """Return the room for new tokens, which must hold the given plan."""
        fields = self.generation_config
        left = self._positions() - prompt_length
        room = fields.max_new_tokens
        if room is None and fields.max_length is not None:
            room = fields.max_length - prompt_length
            if room < 1:
                raise ValueError(
                    f"max_length={fields.max_length} leaves nothing after a prompt of {prompt_length} tokens; raise "
                    "it, or set max_new_tokens."
                )
        room = min(DEFAULT_NEW_TOKENS if room is None else room, left)
        if plan is not None:
            needed = sum(len(one.plan_ids) + 1 + sum(2 + span.length for span in one.spans) for one in plan.rounds)
            _check_room(room, needed, left)
        return room

    def _sampling(self, seed: int) -> Sampling:
        fields = self.generation_config
        temperature = 1.0 if fields.temperature is None else fields.temperature
        return Sampling(
            temperature=float(temperature) if fields.samples else 0.0,
            top_k=fields.top_k or None,
            top_p=fields.top_p,
            score="confidence" if fields.unmasking == "random" else fields.unmasking,
            seed=seed,
        )

    def _seed(self, index: int, prompts: int) -> int:
        fields = self.generation_config
        if not fields.samples and fields.unmasking != "random":
            return 0
        if isinstance(fields.seed, (list, tuple)) and len(fields.seed) != prompts:
            raise ValueError(
                f"seed lists {len(fields.seed)} seeds for {prompts} prompts; give one each, or one number."
            )
        seed = fields.seed[index] if isinstance(fields.seed, (list, tuple)) else fields.seed
        return int(torch.randint(2**31, ())) if seed is None else seed


def _check_room(room: int, needed: int, left: int) -> None:
    if room < needed:
        remedy = "raise max_new_tokens" if room < left else f"shorten the prompt (the model has {left} positions left)"
        raise ValueError(f"There is room for {room} new tokens, but the given plan needs {needed}; {remedy}.")
