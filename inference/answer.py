"""One question to one checkpoint: what is loaded, what `generate` is given, and what comes back.

Command line and web demo share this; who wants to watch passes listeners, which get the engine's events (trace.py).
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

import torch
from transformers import CompileConfig

from ..generation.config import PlannedDiffusionGenerationConfig
from ..generation.events import Ended
from ..generation.plan import Unit
from ..generation.trace import Trace
from ..loading.load import load as load_checkpoint
from ..modeling_planned_diffusion import PlannedDiffusionForCausalLM
from ..records.encoding import encode_prompt

COUNTS = ("forwards", "planning", "denoising", "commits", "critical_path", "tokens")


@dataclass(frozen=True)
class Checkpoint:
    """A loaded model with its tokenizer, and the path or repository that it came from."""

    model: PlannedDiffusionForCausalLM
    tokenizer: object
    source: str

    def field(self, name: str, fields: dict):
        """The value of a generation field: the caller's, or else the checkpoint's own."""
        return fields.get(name, getattr(self.model.generation_config, name))

    def unit(self, fields: dict) -> Unit:
        """Tokens of room per promised number, as `generate` with these fields will take it."""
        return Unit(self.model.config.tokens_per_length_unit * self.field("length_scale", fields))


@dataclass(frozen=True)
class Answer:
    """What came of a prompt. `text` is prose, or plan, tags and text as written where `keep_plan` was asked for."""

    prompt: str | list[dict]  # text, or the messages of a chat
    prompt_ids: list[int]
    text: str
    plans: list[list[dict]]  # per round, per span: topic, length (promised, in tokens), text
    trace: Trace
    ended: str
    model: str
    decoding: str

    def as_json(self) -> dict:
        """The object that `planned-diffusion generate --json` prints."""
        return {
            "text": self.text,
            "plans": self.plans,
            "counts": {name: getattr(self.trace, name) for name in COUNTS},
            "seconds": self.trace.seconds,
            "ended": self.ended,
            "model": self.model,
            "decoding": self.decoding,
        }


def read(tokenizer, token_ids: Iterable[int], with_tags: bool = False) -> str:
    """Token ids as text, byte for byte what the model wrote."""
    return tokenizer.decode(list(token_ids), skip_special_tokens=not with_tags, clean_up_tokenization_spaces=False)


class Prose:
    """Token ids to text as they come; a character waits until all its bytes are there."""

    def __init__(self, tokenizer):
        self.tokenizer = tokenizer
        self.token_ids: list[int] = []
        self.text = ""

    def add(self, token_ids: Iterable[int]) -> str:
        """Takes the next tokens; returns the text that they complete."""
        self.token_ids += token_ids
        complete = read(self.tokenizer, self.token_ids).rstrip("\N{REPLACEMENT CHARACTER}")
        new = complete[len(self.text) :]
        self.text += new
        return new


def check_fields(fields: dict) -> None:
    """Refuses generation fields before anything is loaded.

    Raises:
        ValueError: an unknown field or a value out of range.
    """
    PlannedDiffusionGenerationConfig(**fields)


def load(source: str, dtype: str = "auto", device: str = "auto", compiled: bool = False) -> Checkpoint:
    """Loads a planned-diffusion checkpoint and its tokenizer; code that a checkpoint brings along is not run.

    Args:
        source: folder or Hub repository of a checkpoint, or of an adapter, which is loaded on its base.
        dtype: "auto" (that of the file), "float32", "bfloat16", "nf4" or "int8"; see `loading.load.load`.
        device: "auto" (the GPU if there is one), or as torch writes it: "cpu", "cuda", "cuda:1".
        compiled: it runs compiled, after a wait of some minutes at the first forwards.

    Raises:
        ValueError: nothing there that can be loaded, another kind of model, missing weights, no such device, or no
            bitsandbytes for quantised weights.
    """
    model, tokenizer = load_checkpoint(source, dtype, device=_device(device))
    if compiled:
        model.generation_config.compile_config = CompileConfig()
    torch.seed()  # transformers' seeds are torch's, and a new process would always draw the same ones
    return Checkpoint(model.eval(), tokenizer, source)


def ask(checkpoint: Checkpoint, prompt: str, fields: dict, listeners: Iterable[Callable] = ()) -> Answer:
    """Answers one prompt; control tags spelled in it stay text. Listeners get (index of the answer, event).

    Raises:
        ValueError: a prompt or field that cannot be used; see `generate`.
    """
    tokenizer, listeners = checkpoint.tokenizer, tuple(listeners)

    def tell(index, event):
        for listener in listeners:
            listener(index, event)

    prompt_ids = encode_prompt(tokenizer, prompt)
    inputs = torch.tensor([prompt_ids], dtype=torch.long, device=checkpoint.model.device)  # [1, N]
    out = checkpoint.model.generate(
        inputs,
        attention_mask=torch.ones_like(inputs),
        tokenizer=tokenizer,
        listener=tell,
        return_dict_in_generate=True,
        num_return_sequences=1,
        **fields,
    )
    sequence = out.sequences[0].tolist()
    return Answer(
        prompt=prompt,
        prompt_ids=prompt_ids,
        text=read(tokenizer, sequence[len(prompt_ids) :], with_tags=checkpoint.field("keep_plan", fields)),
        plans=[[_span(tokenizer, sequence, span) for span in spans] for spans in out.plans[0]],
        trace=out.trace[0],
        ended=out.ended[0],
        model=checkpoint.source,
        decoding=checkpoint.field("decoding", fields),
    )


def answer_of(
    checkpoint: Checkpoint,
    prompt: str | list[dict],
    prompt_ids: Iterable[int],
    ended: Ended,
    trace: Trace,
    decoding: str,
    keep_plan: bool,
) -> Answer:
    """The answer of a request that ran in an engine, as `ask` gives it."""
    tokenizer = checkpoint.tokenizer
    sequence = ended.written_ids if keep_plan else ended.answer_ids

    def shown(span) -> dict:
        return _span(tokenizer, sequence, replace(span, topic=tokenizer.decode(list(span.topic_ids)).strip()))

    return Answer(
        prompt=prompt,
        prompt_ids=list(prompt_ids),
        text=read(tokenizer, sequence, with_tags=keep_plan),
        plans=[[shown(span) for span in spans] for spans in (ended.written_plans if keep_plan else ended.plans)],
        trace=trace,
        ended=ended.reason,
        model=checkpoint.source,
        decoding=decoding,
    )


def _span(tokenizer, sequence: list[int], span) -> dict:
    return {"topic": span.topic, "length": span.length, "text": read(tokenizer, sequence[span.start : span.stop])}


def _device(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[0].rstrip(".:;")
        raise ValueError(f"The device {name!r} cannot be used: {reason}; choose cpu, or cuda on a GPU.") from error
    return device
