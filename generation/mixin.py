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
from transformers import GenerationConfig, GenerationMixin
from transformers.utils import ModelOutput, logging

from .assistant import check_assistant
from .config import DECODERS, OWN_DEFAULTS, PLANNING, PlannedDiffusionGenerationConfig
from .engine.engine import Engine
from .events import Ended, FinishedSpan, Text, TokensWritten
from .live_state import Board
from .query import Request
from .requests import RequestMaker, as_ids
from .tokenizer_beside import tokenizer_beside
from .trace import Trace, TraceRecorder

logger = logging.get_logger(__name__)

# Of the `generate` of transformers; here the model drafts for itself, and prompts are token ids.
FOREIGN_ARGUMENTS = (
    "assistant_model", "assistant_tokenizer", "prefix_allowed_tokens_fn", "negative_prompt_ids",
    "negative_prompt_attention_mask", "custom_generate", "inputs_embeds", "past_key_values",
)  # fmt: skip
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
        assistant_model=None,
        listener=None,
        **kwargs,
    ) -> torch.LongTensor | PlannedDiffusionOutput:
        """Answers a batch of prompts.

        Args:
            input_ids: int64 [B, N], padded on the left (or anywhere: the attention mask is the truth).
            attention_mask: [B, N], 1 where a token stands; guessed from `pad_token_id` when omitted.
            generation_config: fields as in `PlannedDiffusionGenerationConfig`; kwargs override it.
            plan: per prompt None, a `Plan`, or a list of rounds; a round is a list of (topic, length in tokens) or the
                token ids of the plan as the model would write them, terminator included. In place of a length may stand
                a partly filled canvas: a list of texts and `Blank(tokens)` (skeleton.py).
            streamer: gets the prompt and then the final text in order (`put`), drafts by `put_draft` if it has that.
            logits_processor: changes the scores of tokens that are written left to right (plan, plain text).
            stopping_criteria: asked with prompt and text so far, after every token or denoising step.
            tokenizer: reads topics given as text and spells those of the output; by default the checkpoint's own.
            assistant_model: scores the drafts of decoding="adaptive_parallel"; a small causal language model with the
                same token ids. The model itself does so when omitted.
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
        config = self.resolve_fields(generation_config, plan, kwargs)
        tokenizer = tokenizer or self._own_tokenizer()
        self._check_assistant(assistant_model, config, tokenizer)
        self._refuse_trained_prompt()
        maker = RequestMaker(self.config, config, tokenizer, has_assistant=assistant_model is not None)
        # 2. Prompts
        prompts = maker.prompts(input_ids, attention_mask)
        # 3. Requests
        requests = maker.requests(prompts, plan, logits_processor, stopping_criteria, self.device)
        if streamer is not None and len(requests) > 1:
            raise ValueError(
                f"A streamer follows one answer, but {len(requests)} were asked for; stream them one at a time."
            )
        # 4. Run
        endings, traces = self._run(requests, config, streamer, listener, assistant_model)
        # 5. Sequences
        return self._output(input_ids, requests, endings, traces, config, tokenizer)

    # 1. Fields

    def resolve_fields(self, given, plan, kwargs) -> PlannedDiffusionGenerationConfig:
        """kwargs over `given` over the checkpoint's fields. A field that `given` does not set is the checkpoint's.

        Raises:
            ValueError: an unknown field, one that this decoding never reads, or a value out of range.
        """
        for name in IGNORED_ARGUMENTS:
            kwargs.pop(name, None)
        foreign = [name for name in FOREIGN_ARGUMENTS if kwargs.get(name) is not None]
        if foreign:
            raise ValueError(f"{', '.join(foreign)} has no meaning for planned diffusion; leave it out.")
        callers = {**_set_fields(given), **_set_fields(kwargs)}
        if "max_length" in callers and "max_new_tokens" not in callers:
            callers["max_new_tokens"] = None  # the checkpoint's would win
        config = PlannedDiffusionGenerationConfig(**copy.deepcopy({**self.generation_config.to_dict(), **callers}))
        self._refuse_useless(config, given, plan, kwargs)
        return config

    def _refuse_useless(self, config, given, plan, kwargs) -> None:
        """Raises ValueError for what the caller asks for and this decoding has no use for."""
        config.refuse_unread(kwargs)
        chosen = getattr(given, "set_fields", {})
        if "decoding" in chosen and "decoding" not in kwargs:  # else it was chosen for another decoding
            own = self.generation_config.set_fields
            config.refuse_unread(name for name, value in chosen.items() if name not in own or own[name] != value)
        if config.decoding not in PLANNING:
            if plan is not None:
                raise ValueError(
                    f"decoding={config.decoding!r} has no use for plan; leave it out, or choose decoding="
                    f"{' or '.join(map(repr, PLANNING))}."
                )
            return
        known = {*as_ids(self.config.eos_token_id), *as_ids(self.generation_config.eos_token_id)}
        others = set(as_ids(config.eos_token_id)) - known
        if others and known:
            raise ValueError(
                f"decoding={config.decoding!r} ends an answer with its plan, not at token {min(others)}; leave "
                "eos_token_id out, or stop at a text with stop_strings."
            )

    def _check_assistant(self, assistant, config, tokenizer) -> None:
        if assistant is None:
            return
        if config.decoding != "adaptive_parallel":
            raise ValueError(
                f"decoding={config.decoding!r} has no use for assistant_model; leave it out, or choose "
                "decoding='adaptive_parallel'."
            )
        check_assistant(assistant, self, tokenizer)

    def _refuse_trained_prompt(self) -> None:
        """Raises ValueError where PEFT puts trained embeddings in front of a prompt.

        It does so in `prepare_inputs_for_generation`, which it replaces and nothing here calls.
        """
        wrapper = getattr(self.prepare_inputs_for_generation, "__self__", None)
        adapter = getattr(wrapper, "active_peft_config", None)
        if getattr(adapter, "is_prompt_learning", False):
            raise ValueError(
                f"{adapter.peft_type.value} trains a prompt, which generate would leave out; train LoRA or another "
                "adapter that changes layers."
            )

    # 4. Run

    def _run(self, requests: list[Request], config, streamer, listener, assistant) -> tuple[list[Ended], list[Trace]]:
        """Endings and traces of all requests, in order."""
        training = [module for module in self.modules() if module.training]
        self.eval()  # gradient checkpointing silently drops the cache while training
        engine = Engine(self, assistant=assistant, compile_config=config.compile_config)
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
            for module in training:
                module.training = True
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
        eos = requests[0].tokens.eos
        pad = config.pad_token_id if config.pad_token_id is not None else eos[0] if eos else 0
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
            self._tokenizer_beside = tokenizer_beside(self)
        return self._tokenizer_beside

    # What transformers asks of a model that generates.

    def init_continuous_batching(self, *args, **kwargs):
        """Refuses `generate_batch` and its kin: they would go round every decoder.

        Raises:
            ValueError: always.
        """
        raise ValueError(
            "Continuous batching of transformers reads left to right only; give generate the prompts as one batch: "
            "its engine lets none wait for another."
        )

    def adjust_generation_fn(
        self, generation_config, from_auto_class, from_pipeline, pretrained_model_name_or_path, *args, **kwargs
    ):
        """Reads generation_config.json with the fields of ours; the inherited one would drop them."""
        names = ("cache_dir", "force_download", "proxies", "local_files_only", "token", "revision", "subfolder")
        options = dict(zip(names, args, strict=False)) | kwargs
        # The tokenizer beside is that of the same revision.
        places = {name: options.get(name) for name in ("cache_dir", "revision", "subfolder")}
        self._place_of_files = {name: place for name, place in places.items() if place}
        if generation_config is not None:
            self.generation_config = PlannedDiffusionGenerationConfig(**generation_config.to_dict())
        elif pretrained_model_name_or_path is not None:
            options.pop("trust_remote_code", None)
            try:
                self.generation_config = PlannedDiffusionGenerationConfig.from_pretrained(
                    pretrained_model_name_or_path, _from_auto=from_auto_class, _from_pipeline=from_pipeline, **options
                )
            except OSError:
                logger.info("No generation_config.json: the defaults of PlannedDiffusionGenerationConfig are used.")


def _set_fields(given) -> dict:
    """Fields that a caller set: a None says nothing, but for a field of ours."""
    if given is None or isinstance(given, dict):
        fields, ours = given or {}, given or {}
    elif isinstance(given, GenerationConfig):
        fields, ours = given.to_dict(), getattr(given, "set_fields", {})
    else:
        raise ValueError(f"generation_config is a {type(given).__name__}; give a GenerationConfig.")
    said = {name: value for name, value in fields.items() if value is not None and name not in OWN_DEFAULTS}
    return said | {name: value for name, value in ours.items() if name in OWN_DEFAULTS}
