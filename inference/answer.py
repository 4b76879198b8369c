"""Answer one prompt with one checkpoint: load it, make a request, run it, and describe the result.

The command line and batches share this. A listener follows an answer while it is written: it gets the engine's events
(generation/events.py).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Self, cast

import torch
from transformers import CompileConfig, PreTrainedTokenizerBase

from ..generation.config import PlannedDiffusionGenerationConfig
from ..generation.events import Ended
from ..generation.fields import FIELDS, SHARED_FIELDS
from ..generation.mixin import Listener
from ..generation.plan import Unit
from ..generation.query import Request
from ..generation.sequences import read_topic
from ..generation.trace import Trace
from ..loading.load import has_merged_form, load
from ..loading.packed_weights import pack_weights
from ..loading.precision import FASTEST
from ..modeling_planned_diffusion import PlannedDiffusionForCausalLM
from ..records.checks import first_line
from ..records.encoding import encode_prompt

COUNTS = ("forwards", "planning", "denoising", "decoding", "scoring", "commits", "critical_path", "tokens")

# A CompileConfig for weights that do not change: one form for forwards of every width, called from C++.
FROZEN: dict[str, Any] = {"mode": None, "dynamic": True, "options": {"freezing": True, "cpp_wrapper": True}}

Prompt = str | list[dict[str, Any]]  # text, or the messages of a chat
Fields = Mapping[str, Any]  # fields of generate, as a caller gives them


@dataclass(frozen=True)
class Checkpoint:
    """A loaded model with its tokenizer, and the path or repository that it came from."""

    model: PlannedDiffusionForCausalLM
    tokenizer: PreTrainedTokenizerBase
    source: str

    @property
    def compile_config(self) -> CompileConfig | None:
        """The way in which the model is compiled; None where it is not."""
        return self.model.generation_config.compile_config

    def field(self, name: str, fields: Fields) -> object:
        """Return the value of a generation field: the caller's, or else the checkpoint's own."""
        default = (FIELDS | SHARED_FIELDS)[name].default  # a plain GenerationConfig may stand in the model
        return fields.get(name, getattr(self.model.generation_config, name, default))

    def unit(self, fields: Fields) -> Unit:
        """Return the tokens of room per promised number, as `generate` with these fields takes it."""
        scale = cast(float, self.field("length_scale", fields))
        return Unit(self.model.config.tokens_per_length_unit * scale)

    def request(self, prompt: Prompt, fields: Fields, plan: list[Any] | None = None) -> Request:
        """Return the engine's request for a prompt; control tags spelled in the prompt stay text.

        Args:
            fields: fields of `generate`.
            plan: a list of rounds, as `generate` takes it.

        Raises:
            ValueError: a prompt, field or plan that cannot be used.
        """
        return self.request_for(encode_prompt(self.tokenizer, prompt), fields, plan)

    def request_for(self, prompt_ids: list[int], fields: Fields, plan: list[Any] | None = None) -> Request:
        """Return the engine's request for a prompt of token ids; see `request`.

        Raises:
            ValueError: a prompt, field or plan that cannot be used.
        """
        plans = None if plan is None else [plan]
        config = self.model.resolve_fields(None, plans, {**fields, "num_return_sequences": 1})
        ids = torch.tensor([prompt_ids], dtype=torch.long)  # [1, N]
        [request] = self.model.prepare(config, ids, torch.ones_like(ids), plans, tokenizer=self.tokenizer)
        return request


@dataclass(frozen=True)
class Answer:
    """The answer to a prompt: `text` is prose, or plan, tags and text as written where `keep_plan` was set.

    plans: per round, per span: topic, length (promised, in tokens), text.
    """

    prompt: Prompt
    prompt_ids: list[int]
    text: str
    plans: list[list[dict[str, Any]]]
    trace: Trace
    ended: str
    model: str
    decoding: str

    @classmethod
    def of(cls, checkpoint: Checkpoint, prompt: Prompt, request: Request, ended: Ended, trace: Trace) -> Self:
        """Return the answer of a request that has ended."""
        tokenizer, keep_plan = checkpoint.tokenizer, request.settings.keep_plan
        written = ended.written_ids if keep_plan else ended.answer_ids
        plans = ended.written_plans if keep_plan else ended.plans
        return cls(
            prompt=prompt,
            prompt_ids=list(request.prompt_ids),
            text=read(tokenizer, written, with_tags=keep_plan),
            plans=[
                [
                    {
                        "topic": read_topic(tokenizer, span),
                        "length": span.length,
                        "text": read(tokenizer, written[span.start : span.stop]),
                    }
                    for span in spans
                ]
                for spans in plans
            ],
            trace=trace,
            ended=ended.reason,
            model=checkpoint.source,
            decoding=request.settings.decoding,
        )

    def as_json(self) -> dict[str, Any]:
        """Return the object that `planned-diffusion batch` writes."""
        return {
            "text": self.text,
            "plans": self.plans,
            "counts": {name: getattr(self.trace, name) for name in COUNTS},
            "seconds": self.trace.seconds,
            "ended": self.ended,
            "model": self.model,
            "decoding": self.decoding,
        }

    def timed_json(self) -> dict[str, Any]:
        """Return the object that `planned-diffusion generate --json` prints: with the seconds that a reader feels."""
        return {**self.as_json(), "felt_seconds": self.trace.felt.as_json()}


def read(tokenizer: PreTrainedTokenizerBase, token_ids: Iterable[int], with_tags: bool = False) -> str:
    """Return token ids as text, byte for byte as the model wrote it."""
    text = tokenizer.decode(list(token_ids), skip_special_tokens=not with_tags, clean_up_tokenization_spaces=False)
    assert isinstance(text, str)  # a list only for a batch of ids
    return text


class Prose:
    """The text of tokens as they come; a character that lacks some of its bytes is held back.

    Only the last few tokens are read again: a token's text may depend on the one in front of it, and on those that
    complete a character with it.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self.tokenizer = tokenizer
        self.text = ""
        self._window: list[int] = []
        self._context = 0  # tokens at the start of the window whose text is out, and which those behind may depend on
        self._given = 0  # characters of the window's text that are out

    def add(self, token_ids: Iterable[int]) -> str:
        """Take the next tokens; return the text that they complete."""
        before = len(self._window)
        self._window += token_ids
        if len(self._window) == before:
            return ""
        whole = read(self.tokenizer, self._window)
        complete = whole.rstrip("\N{REPLACEMENT CHARACTER}")
        new = complete[self._given :]
        self._given = max(self._given, len(complete))
        self.text += new
        if complete == whole:
            self._window = self._window[self._context :]
            self._context = len(self._window)
            self._given = len(read(self.tokenizer, self._window))
        return new


def check_fields(fields: Fields) -> None:
    """Check generation fields before anything is loaded.

    Raises:
        ValueError: an unknown field or a value out of range.
    """
    PlannedDiffusionGenerationConfig(**fields)


def open_checkpoint(source: str, dtype: str = "auto", device: str = "auto", compiled: bool = False) -> Checkpoint:
    """Load a planned-diffusion checkpoint and its tokenizer; code in the checkpoint's folder is not run.

    Args:
        source: folder or Hub repository of a checkpoint, or of an adapter, which is merged into its base; into
            quantised weights it is not merged, and a gated one never is.
        dtype: "auto" (that of the file, or float32 where that is faster; see `loading.precision`), "float32",
            "bfloat16", "nf4" or "int8", or on a CPU "w8a16" (8-bit weights) or "w8a8" (8-bit activations, too).
        device: "auto" (the GPU if there is one), or as torch writes it: "cpu", "cuda", "cuda:1".
        compiled: compile the model, on a CPU with its weights frozen in a second copy (engine/compilation.py); the
            first forwards then take minutes.

    Raises:
        ValueError: no checkpoint that can be loaded, another kind of model, missing weights, no such device, or no
            bitsandbytes for quantised weights.
    """
    chosen, merge = FASTEST if dtype == "auto" else dtype, has_merged_form(source)
    model, tokenizer = load(source, chosen, merge, device=_device(device))
    pack_weights(model, head_only=compiled)
    if compiled:
        is_on_cpu = model.device.type == "cpu"
        model.generation_config.compile_config = CompileConfig(**(FROZEN if is_on_cpu else {}))
    torch.seed()  # transformers' seeds are torch's, and a new process would always draw the same ones
    return Checkpoint(model.eval(), tokenizer, source)


def ask(
    checkpoint: Checkpoint,
    prompt: Prompt,
    fields: Fields,
    listeners: Iterable[Listener] = (),
    plan: list[Any] | None = None,
) -> Answer:
    """Answer one prompt; control tags spelled in it stay text. Listeners get (index of the answer, event).

    Raises:
        ValueError: a prompt, field or plan that cannot be used; see `generate`.
    """
    request = checkpoint.request(prompt, fields, plan)
    outcomes = checkpoint.model.run_requests([request], list(listeners), compile_config=checkpoint.compile_config)
    [(ended, trace)] = outcomes
    return Answer.of(checkpoint, prompt, request, ended, trace)


def _device(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise ValueError(
            f"The device {name!r} cannot be used: {first_line(error)}; choose cpu, or cuda on a GPU."
        ) from error
    return device
