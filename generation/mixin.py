"""`generate`: Hugging Face arguments in, sequences (or a `PlannedDiffusionOutput`) out; the work is the engine's.

The body of `generate` follows this outline:
    1. fields      kwargs over generation_config over the checkpoint's own, checked once
    2. requests    one per returned sequence: prompt without padding, settings, sampling with its seed, plan
    3. run         the engine, its events to streamer, listener and traces
    4. sequences   prompt + answer, padded on the right
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypedDict, Unpack

import torch
from transformers import CompileConfig, GenerationConfig, GenerationMixin, PreTrainedModel, PreTrainedTokenizerBase
from transformers.utils import logging

from ..configuration_planned_diffusion import PlannedDiffusionConfig
from .adapters_per_row import refuse_adapters_per_row
from .assistant import check_assistant
from .config import PlannedDiffusionGenerationConfig
from .decoders.table import DECODERS
from .draft_verdict import judge_drafts
from .engine.engine import Engine
from .events import Ended, Event
from .field_resolution import resolved
from .query import Request
from .requests import RequestMaker
from .sequences import PlannedDiffusionOutput, described, padded_sequences
from .stored_defaults import stored_defaults
from .streaming import StreamerListener, check_followers
from .token_ids import as_ids, pad_id
from .tokenizer_beside import tokenizer_beside
from .trace import Trace, TraceRecorder

logger = logging.get_logger(__name__)

Listener = Callable[[int, Event], object]  # (index of the answer, event)


class Companions(TypedDict, total=False):
    """Objects that accompany a generation; see `generate` for each."""

    logits_processor: Any
    stopping_criteria: Any
    tokenizer: PreTrainedTokenizerBase | None
    assistant_model: PreTrainedModel | None


if TYPE_CHECKING:

    class _GeneratingModel(PreTrainedModel, GenerationMixin):
        """The model that the mixin becomes a part of."""

        config: PlannedDiffusionConfig
        generation_config: PlannedDiffusionGenerationConfig
else:
    _GeneratingModel = GenerationMixin


class PlannedDiffusionGenerationMixin(_GeneratingModel):
    """Planned diffusion and the decoders it is measured against, behind the `generate` of transformers."""

    # Where `from_pretrained` found the checkpoint (cache_dir, revision, subfolder), for the tokenizer beside it.
    files_of_checkpoint: dict[str, str] = {}

    @torch.no_grad()
    def generate(  # pyright: ignore[reportIncompatibleMethodOverride]  # the argument list is this package's contract
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        generation_config: GenerationConfig | None = None,
        plan: Any = None,
        streamer: Any = None,
        logits_processor: Any = None,
        stopping_criteria: Any = None,
        tokenizer: PreTrainedTokenizerBase | None = None,
        assistant_model: PreTrainedModel | None = None,
        listener: Listener | None = None,
        **kwargs: Any,
    ) -> torch.Tensor | PlannedDiffusionOutput:
        """Answer a batch of prompts.

        In float32 the answers are those of the prompts alone. In bfloat16 forwards of another width round differently,
        so that a token may change now and then; one prompt per call is exact in any type.

        Args:
            input_ids: int64 [B, N], padded on the left (or anywhere: the attention mask is the truth).
            attention_mask: [B, N], 1 where a token stands; guessed from `pad_token_id` when omitted.
            generation_config: fields as in `PlannedDiffusionGenerationConfig`; kwargs override it.
            plan: per prompt None, a `Plan`, or a list of rounds; a round is a list of (topic, length in tokens) or the
                token ids of the plan as the model would write them, terminator included. In place of a length may stand
                a partly filled canvas: a list of texts and `Blank(tokens)` (skeleton.py).
            streamer: gets the prompt and then the final text in order (`put`), drafts by `put_draft` if it has that.
            logits_processor: changes the scores of tokens that are written left to right (plan, plain text).
            stopping_criteria: asked with prompt and text so far, after every token or denoising step. Criteria and
                processors may have a state, also one with an entry for each row: decoding="autoregressive" calls them
                with all rows, as transformers does, and other decoders give each answer of a batch copies of its own.
            tokenizer: reads topics given as text and spells those of the output; by default the checkpoint's own.
            assistant_model: scores the drafts of decoding="adaptive_parallel"; a small causal language model with the
                same token ids. The model itself does so when omitted.
            listener: called with (index of the answer, event) for every event (events.py).
            kwargs: fields of `generate` (fields.py), such as decoding, max_new_tokens or confidence_threshold.

        Returns:
            int64 [B * num_return_sequences, L], or a `PlannedDiffusionOutput` with `return_dict_in_generate=True`.

        Raises:
            ValueError: a field, prompt or plan that cannot be used; the message says what to do.
            FloatingPointError: the model's logits are NaN.

        Examples:
            >>> from transformers import AutoTokenizer
            >>> from planned_diffusion import Blank, PlannedDiffusionForCausalLM

            >>> model = PlannedDiffusionForCausalLM.from_pretrained("checkpoints/facts", dtype="auto")
            >>> tokenizer = AutoTokenizer.from_pretrained("checkpoints/facts")
            >>> prompt = tokenizer("What are the capital and the currency of Kenya?", return_tensors="pt")
            >>> start = prompt["input_ids"].shape[1]

            >>> # The answer as prose; plan and tags are left out.
            >>> sequences = model.generate(**prompt)
            >>> tokenizer.decode(sequences[0, start:], skip_special_tokens=True)[:62]
            'The capital city of Kenya, as any atlas will show, is Nairobi.'

            >>> # Its plan, and what it took.
            >>> out = model.generate(**prompt, return_dict_in_generate=True)
            >>> [(span.topic, span.length) for span in out.plans[0][0]]
            [('capital', 24), ('currency', 16)]
            >>> out.trace[0].forwards < out.trace[0].tokens
            True

            >>> # A plan of one's own: known words and a gap.
            >>> form = ["The capital city of Kenya, as any atlas will show, is", Blank(6)]
            >>> sequences = model.generate(**prompt, plan=[[[("capital", form)]]])
            >>> tokenizer.decode(sequences[0, start:], skip_special_tokens=True)
            'The capital city of Kenya, as any atlas will show, is Nairobi.'
        """
        # 1. Fields
        if input_ids is None:
            input_ids = kwargs.pop("inputs", None)
        fields = self.resolve_fields(generation_config, plan, kwargs)
        tokenizer = tokenizer or self._own_tokenizer()
        # 2. Requests
        requests = self.prepare(
            fields,
            input_ids,
            attention_mask,
            plan,
            logits_processor=logits_processor,
            stopping_criteria=stopping_criteria,
            tokenizer=tokenizer,
            assistant_model=assistant_model,
        )
        check_followers(streamer, listener, len(requests))
        # 3. Run
        listeners = [] if listener is None else [listener]
        if streamer is not None:
            listeners.append(StreamerListener(streamer, requests[0].control.mask))
            streamer.put(torch.tensor([requests[0].prompt_ids]))
        try:
            compile_config = None if fields.disable_compile else fields.compile_config
            outcomes = self.run_requests(requests, listeners, assistant_model, compile_config)
        finally:
            if streamer is not None:
                streamer.end()
        # 4. Sequences
        assert input_ids is not None  # prepare refuses a missing one
        answers = [ended.written_ids if fields.keep_plan else ended.answer_ids for ended, _ in outcomes]
        sequences = padded_sequences(input_ids, answers, pad_id(fields, requests[0].control.eos))
        if not fields.return_dict_in_generate:
            return sequences
        return described(sequences, outcomes, input_ids.shape[1], fields.keep_plan, tokenizer)

    def resolve_fields(
        self, given: GenerationConfig | dict | None, plan: Any, kwargs: dict[str, Any]
    ) -> PlannedDiffusionGenerationConfig:
        """Put kwargs over `given` over the checkpoint's fields. A field that `given` does not set is the checkpoint's.

        Raises:
            ValueError: an unknown field, a field that this decoding never reads, or a value out of range.
        """
        fields = resolved(self.generation_config, given, kwargs)
        self._refuse_with_this_decoding(fields, plan)
        return fields

    def prepare(
        self,
        generation_config: PlannedDiffusionGenerationConfig,
        input_ids: torch.Tensor | None,
        attention_mask: torch.Tensor | None = None,
        plan: Any = None,
        **companions: Unpack[Companions],
    ) -> list[Request]:
        """Turn arguments into requests, one per returned sequence: for `generate`, batches and servers alike.

        Args:
            generation_config: as `resolve_fields` returns it.
            input_ids, attention_mask, plan, companions: as in `generate`.

        Raises:
            ValueError: a prompt, plan, assistant or adapter that cannot be used.
        """
        tokenizer, assistant = companions.get("tokenizer"), companions.get("assistant_model")
        if assistant is not None:
            if not generation_config.decoder.takes_assistant:
                takers = [name for name, decoder in DECODERS.items() if decoder.takes_assistant]
                raise ValueError(
                    f"decoding={generation_config.decoding!r} has no use for assistant_model; leave it out, or choose "
                    f"decoding={' or '.join(map(repr, takers))}."
                )
            check_assistant(assistant, self, tokenizer)
        self._refuse_trained_prompt()
        refuse_adapters_per_row(self)
        maker = RequestMaker(self.config, generation_config, tokenizer, has_assistant=assistant is not None)
        prompts = maker.prompts(input_ids, attention_mask)
        processor, criteria = companions.get("logits_processor"), companions.get("stopping_criteria")
        assert input_ids is not None  # it holds prompts
        return maker.requests(prompts, plan, processor, criteria, input_ids.to(self.device))

    @torch.no_grad()
    def run_requests(
        self,
        requests: list[Request],
        listeners: list[Listener] | None = None,
        assistant_model: PreTrainedModel | None = None,
        compile_config: CompileConfig | None = None,
    ) -> list[tuple[Ended, Trace]]:
        """Run requests together; return the ending and the trace of each, in order.

        Raises:
            FloatingPointError: the model's logits are NaN.
            Exception: whatever a stopping criterion, logits processor or listener raises.
        """
        training = [module for module in self.modules() if module.training]
        self.eval()  # gradient checkpointing silently drops the cache while training
        lockstep = requests[0].lockstep if requests else None
        assert all(request.lockstep is lockstep for request in requests)  # `prepare` made them together
        engine = Engine(self, assistant=assistant_model, compile_config=compile_config, lockstep=lockstep)
        recorders = [TraceRecorder(request.settings.output_trace) for request in requests]
        for request, recorder in zip(requests, recorders, strict=True):
            engine.add(recorder.timed(DECODERS[request.settings.decoding].run(request)), request.sampling)
        outcomes: dict[int, tuple[Ended, Trace]] = {}
        try:
            for index, event in engine.run():
                recorders[index].add(event)
                for listener in listeners or ():
                    listener(index, event)
                if isinstance(event, Ended):
                    outcomes[index] = (event, recorders[index].trace())
        finally:
            for module in training:
                module.training = True
        judge_drafts(self, [trace for _, trace in outcomes.values()])
        return [outcomes[index] for index in range(len(requests))]

    def _refuse_with_this_decoding(self, fields: PlannedDiffusionGenerationConfig, plan: Any) -> None:
        """Refuse a plan or an EOS id that this decoding has no use for."""
        if not fields.decoder.plans:
            if plan is not None:
                planners = [name for name, decoder in DECODERS.items() if decoder.plans]
                raise ValueError(
                    f"decoding={fields.decoding!r} has no use for plan; leave it out, or choose decoding="
                    f"{' or '.join(map(repr, planners))}."
                )
            return
        known = {*as_ids(self.config.eos_token_id), *as_ids(self.generation_config.eos_token_id)}
        others = set(as_ids(fields.eos_token_id)) - known
        if others and known:
            raise ValueError(
                f"decoding={fields.decoding!r} ends an answer with its plan, not at token {min(others)}; leave "
                "eos_token_id out, or stop at a text with stop_strings."
            )

    def _refuse_trained_prompt(self) -> None:
        """Refuse a model whose adapter puts trained embeddings in front of a prompt.

        PEFT does so in `prepare_inputs_for_generation`, which it replaces and which nothing here calls.
        """
        # The library types `self` of this method as a protocol that no class states.
        method: Any = self.prepare_inputs_for_generation  # pyright: ignore[reportAttributeAccessIssue]
        wrapper = getattr(method, "__self__", None)
        adapter = getattr(wrapper, "active_peft_config", None)
        if adapter is not None and getattr(adapter, "is_prompt_learning", False):
            raise ValueError(
                f"{adapter.peft_type.value} trains a prompt, which generate would leave out; train LoRA or another "
                "adapter that changes layers."
            )

    def _own_tokenizer(self) -> PreTrainedTokenizerBase | None:
        """Return the tokenizer that lies beside the checkpoint, or None; it is looked for once."""
        if not hasattr(self, "_tokenizer_beside"):
            self._tokenizer_beside = tokenizer_beside(self)
        return self._tokenizer_beside

    # What transformers asks of a model that generates.

    def init_continuous_batching(self, *args: Any, **kwargs: Any) -> Any:
        """Refuse `generate_batch` and its kin: they would go round every decoder.

        Raises:
            ValueError: always.
        """
        raise ValueError(
            "Continuous batching of transformers reads left to right only; pass all prompts to generate() as one "
            "batch; it batches continuously."
        )

    def adjust_generation_fn(
        self,
        generation_config: GenerationConfig | None,
        from_auto_class: bool,
        from_pipeline: str | None,
        pretrained_model_name_or_path: str | None,
        *args: Any,
        **kwargs: Any,
    ) -> None:
        """Read generation_config.json with the fields of ours; the inherited method would drop them."""
        names = ("cache_dir", "force_download", "proxies", "local_files_only", "token", "revision", "subfolder")
        options = dict(zip(names, args, strict=False)) | kwargs
        places = {name: options.get(name) for name in ("cache_dir", "revision", "subfolder")}
        self.files_of_checkpoint = {name: place for name, place in places.items() if place}
        if generation_config is not None:
            self.generation_config = PlannedDiffusionGenerationConfig(**generation_config.to_dict())
        elif pretrained_model_name_or_path is not None:
            options.pop("trust_remote_code", None)
            stored = stored_defaults(
                pretrained_model_name_or_path, _from_auto=from_auto_class, _from_pipeline=from_pipeline, **options
            )
            if stored is not None:
                self.generation_config = stored
