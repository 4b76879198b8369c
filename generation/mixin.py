"""`generate`: Hugging Face arguments in, sequences (or a `PlannedDiffusionOutput`) out; the work is the engine's.

The body of `generate` follows this outline:
    1. fields      kwargs over generation_config over the checkpoint's own, checked once
    2. prompts     rows without their padding
    3. requests    one per returned sequence: settings, sampling with its seed, plan
    4. run         the engine, its events to streamer and traces
    5. sequences   prompt + answer, padded on the right
"""

import copy
from dataclasses import dataclass, replace

import torch
from transformers import AutoTokenizer, GenerationConfig, GenerationMixin
from transformers.generation import MaxTimeCriteria, StoppingCriteriaList
from transformers.utils import ModelOutput, logging

from .config import DECODERS, OWN_DEFAULTS, SPAN_FIELDS, PlannedDiffusionGenerationConfig
from .engine import Engine
from .plan import Plan, PlanError, RoundGrammar, Unit, parse_round, write_round
from .query import Request, Sampling, Settings, never
from .tokens import ControlTokens
from .trace import Board, Ended, FinishedSpan, Text, TokensWritten, Trace, TraceRecorder

logger = logging.get_logger(__name__)

DEFAULT_NEW_TOKENS = 1024
IGNORED_ARGUMENTS = ("synced_gpus", "use_model_defaults", "token_type_ids", "trust_remote_code", "disable_compile")


@dataclass
class PlannedDiffusionOutput(ModelOutput):
    """What `generate` returns with `return_dict_in_generate=True`.

    Attributes:
        sequences: int64 [B, L]: prompt + answer + EOS, padded on the right; with `keep_plan` the answer as written.
        plans: per request, per round, per span a `FinishedSpan`; `sequences[i, start:stop]` is the span's text.
        trace: per request a `Trace`.
        ended: per request "eos", "length" or "stop".
    """

    sequences: torch.LongTensor | None = None
    plans: list[list[list[FinishedSpan]]] | None = None
    trace: list[Trace] | None = None
    ended: list[str] | None = None


class PlannedDiffusionGenerationMixin(GenerationMixin):
    """Planned diffusion and the decoders it is measured against, behind the `generate` of transformers."""

    @torch.no_grad()
    def generate(
        self,
        input_ids: torch.LongTensor | None = None,
        attention_mask: torch.Tensor | None = None,
        generation_config: GenerationConfig | None = None,
        plan=None,
        streamer=None,
        logits_processor=None,
        stopping_criteria=None,
        tokenizer=None,
        listener=None,
        **kwargs,
    ) -> torch.LongTensor | PlannedDiffusionOutput:
        """Answers a batch of prompts.

        Args:
            input_ids: int64 [B, N], padded on the left (or anywhere: the attention mask is the truth).
            attention_mask: [B, N], 1 where a token stands; guessed from `pad_token_id` when omitted.
            generation_config: fields as in `PlannedDiffusionGenerationConfig`; kwargs override it.
            plan: per prompt None, a `Plan`, or a list of rounds; a round is a list of (topic, length in tokens) or the token
                ids of the plan as the model would write them, terminator included.
            streamer: gets the prompt and then the final text in order (`put`), drafts by `put_draft` if it has that.
            logits_processor: changes the scores of tokens that are written left to right (plan, plain text).
            stopping_criteria: asked with prompt and text so far, after every token or denoising step.
            tokenizer: reads topics given as text and spells those of the output; by default the checkpoint's own.
            listener: called with (index of the answer, event) for everything that happens (trace.py).

        Returns:
            int64 [B * num_return_sequences, L], or a `PlannedDiffusionOutput` with `return_dict_in_generate=True`.

        Raises:
            ValueError: a field, prompt or plan that cannot be used; the message says what to do.
            FloatingPointError: the model's logits are NaN.
        """
        # 1. Fields
        if input_ids is None:
            input_ids = kwargs.pop("inputs", None)
        config = self._resolve_fields(generation_config, plan, kwargs)
        # 2. Prompts
        prompts = self._prompts(input_ids, attention_mask, config)
        # 3. Requests
        tokenizer = tokenizer or self._own_tokenizer()
        requests = self._requests(prompts, config, plan, tokenizer, logits_processor, stopping_criteria)
        if streamer is not None and len(requests) > 1:
            raise ValueError(f"A streamer follows one answer, but {len(requests)} were asked for; stream them one at a time.")
        # 4. Run
        endings, traces = self._run(requests, config, streamer, listener)
        # 5. Sequences
        return self._output(input_ids, requests, endings, traces, config, tokenizer)

    # 1. Fields

    def _resolve_fields(self, given, plan, kwargs) -> PlannedDiffusionGenerationConfig:
        """kwargs over `given` over the checkpoint's fields. A field that `given` leaves at None is the checkpoint's."""
        for name in IGNORED_ARGUMENTS:
            kwargs.pop(name, None)
        own = self.generation_config
        fields = own.to_dict()
        if given is not None:
            fields |= {name: value for name, value in given.to_dict().items() if value is not None}
            if isinstance(given, PlannedDiffusionGenerationConfig):
                fields |= {name: getattr(given, name) for name in OWN_DEFAULTS}
        fields |= {name: value for name, value in kwargs.items() if value is not None or name in OWN_DEFAULTS}
        config = PlannedDiffusionGenerationConfig(**copy.deepcopy(fields))
        if config.decoding == "autoregressive":
            useless = [name for name in SPAN_FIELDS if name in kwargs and kwargs[name] != OWN_DEFAULTS[name]]
            if plan is not None:
                useless.append("plan")
            if useless:
                raise ValueError(
                    f"decoding='autoregressive' has no spans, so {', '.join(useless)} cannot be used; leave it out or "
                    "choose decoding='planned'."
                )
        return config

    # 2. Prompts

    def _prompts(self, input_ids, attention_mask, config) -> list[tuple[int, ...]]:
        """The rows of the batch without padding."""
        if input_ids is None or input_ids.dim() != 2:
            shape = None if input_ids is None else list(input_ids.shape)
            raise ValueError(f"input_ids has shape {shape}; give token ids of shape [prompts, tokens].")
        if 0 in input_ids.shape:
            raise ValueError(f"input_ids of shape {list(input_ids.shape)} hold no prompt; give at least one token.")
        if attention_mask is None:
            pad = config.pad_token_id
            guess = pad is not None and pad not in self._eos_ids(config)
            attention_mask = input_ids != pad if guess else torch.ones_like(input_ids)
        if attention_mask.shape != input_ids.shape:
            raise ValueError(
                f"attention_mask has shape {list(attention_mask.shape)}; give one of input_ids' shape "
                f"{list(input_ids.shape)}, 1 where a token stands."
            )
        rows = zip(input_ids.tolist(), attention_mask.bool().tolist(), strict=True)
        prompts = [tuple(token for token, real in zip(*row, strict=True) if real) for row in rows]
        for index, prompt in enumerate(prompts):
            if not prompt:
                raise ValueError(f"Prompt {index} is all padding; leave it out of the batch.")
            if len(prompt) >= self._positions():
                raise ValueError(
                    f"Prompt {index} has {len(prompt)} tokens, and this model has {self._positions()} positions for prompt "
                    "and answer together; shorten it."
                )
            wrong = [token for token in prompt if not 0 <= token < self.config.vocab_size]
            if wrong:
                raise ValueError(
                    f"Prompt {index} has token id {wrong[0]}, outside the vocabulary of {self.config.vocab_size}; encode "
                    "it with this checkpoint's tokenizer."
                )
        return prompts

    def _positions(self) -> int:
        """Positions that a document may have: the trained ones, or the window where layers attend within one.

        Span masks are given ready-made, and transformers applies a ready mask to sliding layers as it is.
        """
        backbone = self.config.get_text_config()
        positions = backbone.max_position_embeddings
        if "sliding_attention" in (getattr(backbone, "layer_types", None) or ()) and backbone.sliding_window:
            positions = min(positions, backbone.sliding_window)
        return positions

    # 3. Requests

    def _requests(self, prompts, config, plan, tokenizer, logits_processor, stopping_criteria) -> list[Request]:
        tokens = self._control_tokens(config)
        unit = Unit(self.config.tokens_per_length_unit * config.length_scale)
        plans = self._plans(plan, len(prompts), tokens, unit, tokenizer)
        separator = ()
        if self.config.span_separator and tokenizer is not None:
            separator = tuple(tokenizer.encode(self.config.span_separator, add_special_tokens=False))
        criteria = StoppingCriteriaList(stopping_criteria or [])
        if config.max_time is not None:
            criteria.append(MaxTimeCriteria(config.max_time))
        copies = config.num_return_sequences or 1
        requests = []
        for index, prompt in enumerate(prompts):
            settings = self._settings(config, tokens, unit, len(prompt), plans[index])
            seed = self._seed(config, index, len(prompts))
            for number in range(copies):
                sampling = Sampling(
                    temperature=(1.0 if config.temperature is None else config.temperature) if config.samples else 0.0,
                    top_k=config.top_k or None,
                    top_p=config.top_p,
                    score=config.unmasking,
                    seed=seed + number,
                )
                requests.append(
                    Request(
                        prompt_ids=prompt,
                        tokens=tokens,
                        unit=unit,
                        settings=settings,
                        sampling=sampling,
                        plan=plans[index],
                        separator_ids=separator,
                        should_stop=self._stopper(criteria) if criteria else never,
                        process=self._processor(logits_processor) if logits_processor else None,
                    )
                )
        return requests

    def _control_tokens(self, config) -> ControlTokens:
        """The checkpoint's control tokens; a plain checkpoint may still decode left to right."""
        more_eos = self._eos_ids(config)
        if config.decoding == "autoregressive" and self.config.mask_token_id is None:
            return ControlTokens.none(more_eos)
        return ControlTokens.from_config(self.config, more_eos)

    def _eos_ids(self, config) -> tuple[int, ...]:
        """Ids that end an answer, the config's own first; the backbone's where nothing else is said."""
        ids = []
        for given in (self.config.eos_token_id, config.eos_token_id):
            ids += given if isinstance(given, (list, tuple)) else [] if given is None else [given]
        if not ids and self.config.get_text_config().eos_token_id is not None:
            ids.append(self.config.get_text_config().eos_token_id)
        return tuple(dict.fromkeys(ids))

    def _settings(self, config, tokens, unit, prompt_length: int, plan: Plan | None) -> Settings:
        left = self._positions() - prompt_length
        room = config.max_new_tokens
        if room is None and config.max_length is not None:
            room = config.max_length - prompt_length
            if room < 1:
                raise ValueError(
                    f"max_length={config.max_length} leaves nothing after a prompt of {prompt_length} tokens; raise it, or "
                    "set max_new_tokens."
                )
        room = min(DEFAULT_NEW_TOKENS if room is None else room, left)
        if plan is not None:
            needed = sum(len(part.plan_ids) + 1 + sum(2 + span.length for span in part.spans) for part in plan.rounds)
            _check_room(room, needed, "the given plan needs", left)
        elif config.decoding == "planned":
            _check_room(room, RoundGrammar.shortest(unit), "the shortest plan with its span needs", left)
        suppressed = config.suppress_in_spans
        if suppressed is None:
            suppressed = tokens.all - {tokens.span_pad}
        return Settings(
            max_new_tokens=room,
            dense=(config.span_attention or self.config.span_attention) == "dense",
            steps_ratio=config.steps_ratio,
            confidence_threshold=config.confidence_threshold,
            max_spans=config.max_spans,
            max_rounds=config.max_rounds,
            close_padding=config.close_padding,
            suppress_in_spans=frozenset(suppressed),
        )

    def _seed(self, config, index: int, prompts: int) -> int:
        if not config.samples:
            return 0
        if isinstance(config.seed, (list, tuple)):
            if len(config.seed) != prompts:
                raise ValueError(f"seed lists {len(config.seed)} seeds for {prompts} prompts; give one each, or one number.")
            return config.seed[index]
        return int(torch.randint(2**31, ())) if config.seed is None else config.seed

    def _stopper(self, criteria):
        def should_stop(ids: list[int]) -> bool:
            return bool(criteria(torch.tensor([ids], device=self.device), None).all())

        return should_stop

    def _processor(self, processors):
        def process(ids: list[int], scores: torch.Tensor) -> torch.Tensor:
            return processors(torch.tensor([ids], device=scores.device), scores)

        return process

    def _plans(self, plan, prompts: int, tokens, unit, tokenizer) -> list[Plan | None]:
        """The plans that the caller gave, checked; None where the model plans itself."""
        if plan is None:
            return [None] * prompts
        if not isinstance(plan, (list, tuple)) or len(plan) != prompts:
            got = f"has {len(plan)} entries" if isinstance(plan, (list, tuple)) else f"is a {type(plan).__name__}"
            raise ValueError(f"plan {got} for {prompts} prompts; give a list with one entry per prompt.")
        return [self._plan(entry, tokens, unit, tokenizer) for entry in plan]

    def _plan(self, entry, tokens, unit, tokenizer) -> Plan | None:
        if entry is None or isinstance(entry, Plan):
            return entry
        if not isinstance(entry, (list, tuple)) or not entry:
            raise PlanError(f"A plan is {entry!r}; give a list of rounds, each a list of (topic, length) or of token ids.")

        def encode(text: str) -> list[int]:
            if tokenizer is None:
                raise ValueError(
                    f"The topic {text.strip()!r} is text and this model came without a tokenizer; pass tokenizer=... to "
                    "generate, or give topics as token ids."
                )
            return tokenizer.encode(text, add_special_tokens=False, split_special_tokens=True)

        rounds = []
        for number, part in enumerate(entry):
            if not isinstance(part, (list, tuple)):
                raise PlanError(f"Round {number} of a plan is {part!r}; give a list of (topic, length) or of token ids.")
            if part and all(isinstance(token, int) for token in part):
                rounds.append(parse_round(part, tokens, unit))
            else:
                terminator = tokens.eos[0] if number == len(entry) - 1 else tokens.sync
                rounds.append(write_round(part, terminator, tokens, unit, encode))
        early = [number for number, part in enumerate(rounds[:-1]) if part.terminator != tokens.sync]
        if early:
            raise PlanError(f"Round {early[0]} of a plan ends in EOS, but more rounds follow; end it in <sync/> ({tokens.sync}).")
        return Plan(tuple(rounds))

    # 4. Run

    def _run(self, requests: list[Request], config, streamer, listener) -> tuple[list[Ended], list[Trace]]:
        """Endings and traces of all requests, in order."""
        was_training = self.training
        self.eval()  # gradient checkpointing silently drops the cache while training
        engine = Engine(self)
        endings: dict[int, Ended] = {}
        recorders, traces, board = {}, {}, Board()
        for request in requests:
            engine.add(DECODERS[config.decoding](request), request.sampling)
        try:
            if streamer is not None:
                streamer.put(torch.tensor([requests[0].prompt_ids]))
            for index, event in engine.run():
                recorder = recorders.setdefault(index, TraceRecorder(config.output_trace))
                recorder.add(event)
                if listener is not None:
                    listener(index, event)
                if streamer is not None:
                    board.add(event)
                    self._stream(event, board, streamer)
                if isinstance(event, Ended):
                    endings[index], traces[index] = event, recorder.trace()
        finally:
            self.train(was_training)
            if streamer is not None:
                streamer.end()
        return [endings[index] for index in range(len(requests))], [traces[index] for index in range(len(requests))]

    def _stream(self, event, board: Board, streamer) -> None:
        if isinstance(event, Text):
            streamer.put(torch.tensor(event.token_ids))
        elif isinstance(event, TokensWritten) and board.spans and hasattr(streamer, "put_draft"):
            streamer.put_draft(torch.tensor(board.draft(self.config.mask_token_id)))

    # 5. Sequences

    def _output(self, input_ids, requests, endings, traces, config, tokenizer):
        answers = [ending.written_ids if config.keep_plan else ending.answer_ids for ending in endings]
        copies = config.num_return_sequences or 1
        pad = config.pad_token_id if config.pad_token_id is not None else requests[0].tokens.eos[0]
        start = input_ids.shape[1]
        sequences = torch.full((len(answers), start + max(map(len, answers))), pad, dtype=torch.long)
        sequences[:, :start] = input_ids.cpu().repeat_interleave(copies, dim=0)
        for row, answer in zip(sequences, answers, strict=True):
            row[start : start + len(answer)] = torch.tensor(answer, dtype=torch.long)
        sequences = sequences.to(input_ids.device)
        if not config.return_dict_in_generate:
            return sequences

        def placed(span: FinishedSpan) -> FinishedSpan:
            topic = None if tokenizer is None else tokenizer.decode(list(span.topic_ids)).strip()
            return replace(span, start=span.start + start, stop=span.stop + start, topic=topic)

        plans = [ending.written_plans if config.keep_plan else ending.plans for ending in endings]
        return PlannedDiffusionOutput(
            sequences=sequences,
            plans=[[[placed(span) for span in spans] for spans in rounds] for rounds in plans],
            trace=traces,
            ended=[ending.reason for ending in endings],
        )

    def _own_tokenizer(self):
        """The tokenizer that lies beside the checkpoint, or None; looked for once."""
        if not hasattr(self, "_tokenizer_beside"):
            self._tokenizer_beside = None
            if self.name_or_path:
                try:
                    self._tokenizer_beside = AutoTokenizer.from_pretrained(self.name_or_path, local_files_only=True)
                except (OSError, ValueError):
                    logger.info(f"No tokenizer beside {self.name_or_path}: topics stay token ids.")
        return self._tokenizer_beside

    # What transformers asks of a model that generates.

    def adjust_generation_fn(self, generation_config, from_auto_class, from_pipeline, pretrained_model_name_or_path, *args,
                             **kwargs):  # fmt: skip
        """Reads generation_config.json with the fields of ours; the inherited one would drop them."""
        if generation_config is not None:
            self.generation_config = PlannedDiffusionGenerationConfig(**generation_config.to_dict())
        elif pretrained_model_name_or_path is not None:
            names = ("cache_dir", "force_download", "proxies", "local_files_only", "token", "revision", "subfolder")
            options = dict(zip(names, args, strict=False)) | kwargs
            options.pop("trust_remote_code", None)
            try:
                self.generation_config = PlannedDiffusionGenerationConfig.from_pretrained(
                    pretrained_model_name_or_path, _from_auto=from_auto_class, _from_pipeline=from_pipeline, **options
                )
            except OSError:
                logger.info("No generation_config.json: the defaults of PlannedDiffusionGenerationConfig are used.")


def _check_room(room: int, needed: int, what: str, left: int) -> None:
    if room < needed:
        remedy = "raise max_new_tokens" if room < left else f"shorten the prompt (the model has {left} positions left)"
        raise ValueError(f"There is room for {room} new tokens, but {what} {needed}; {remedy}.")
