"""The commands that answer, `generate` and `batch`: they have the decoding options in common."""

import json
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from ..loading.locate import chosen_model
from .options import (
    Attention,
    Debug,
    Decoding,
    Device,
    Dtype,
    Json,
    KeepPlan,
    Model,
    NewTokens,
    Others,
    Ratio,
    Scale,
    Seed,
    Temperature,
    Threshold,
    TopK,
    TopP,
    Trace,
    Unmasking,
    decoding_fields,
    quiet,
    read_prompt,
    refuse_unwritable,
)

Workers = Annotated[int | None, Option(help="Processes of Ray, each with the model; on GPUs, one each.")]
Ray = Annotated[str | None, Option(metavar="ADDRESS", help="A running Ray cluster; auto: that of this machine.")]


def generate(
    prompt: Annotated[list[str] | None, Argument(help="The prompt; - or nothing: standard input.")] = None,
    model: Model = None,
    decoding: Decoding = None,
    steps_ratio: Ratio = None,
    confidence_threshold: Threshold = None,
    unmasking: Unmasking = None,
    span_attention: Attention = None,
    length_scale: Scale = None,
    max_new_tokens: NewTokens = None,
    temperature: Temperature = None,
    top_p: TopP = None,
    top_k: TopK = None,
    seed: Seed = None,
    keep_plan: KeepPlan = False,
    others: Others = None,
    as_json: Json = False,
    trace: Trace = None,
    dtype: Dtype = "auto",
    device: Device = "auto",
    debug: Debug = False,
):
    """Answer a prompt; on a terminal, watch it being written. What is not given is the checkpoint's own default."""
    fields = decoding_fields(
        temperature, keep_plan, others, decoding=decoding, steps_ratio=steps_ratio,
        confidence_threshold=confidence_threshold, unmasking=unmasking, span_attention=span_attention,
        length_scale=length_scale, max_new_tokens=max_new_tokens, top_p=top_p, top_k=top_k, seed=seed,
    )  # fmt: skip
    source, text = chosen_model(model), read_prompt(prompt or [])
    if trace:
        refuse_unwritable(trace)
    show(loaded(source, dtype, device, fields, debug), text, fields, as_json, trace)


def loaded(source: str, dtype: str, device: str, fields: dict, debug: bool):
    """The checkpoint, once the fields are known to be good; a terminal shows that something happens."""
    from rich.console import Console

    with Console(stderr=True).status(f"loading {source}"):
        quiet(debug)
        from ..inference.answer import check_fields, load

        check_fields(fields)
        return load(source, dtype, device)


def show(checkpoint, text: str, fields: dict, as_json: bool, trace: Path | None) -> None:
    """Answers and prints, while it is written unless `as_json`; the trace is safe before the last word is printed."""
    from ..inference.answer import ask
    from ..inference.recording import Recording, write
    from .terminal import view_of

    recording = Recording(checkpoint.tokenizer)
    with nullcontext() if as_json else view_of(checkpoint, fields) as view:
        listeners = ([recording.add] if trace else []) + ([view.add] if view else [])
        answer = ask(checkpoint, text, fields, listeners)
        if trace:
            write(trace, recording.document(answer, fields))
        if view:
            view.finish(answer)
        else:
            print(json.dumps(answer.as_json(), ensure_ascii=False))


def batch(
    source: Annotated[Path, Argument(metavar="IN", help="JSONL: prompt or messages, and if need be id, plan, fields.")],
    out: Annotated[Path, Argument(metavar="OUT", help="JSONL of answers to write, in the order of IN.")],
    model: Model = None,
    batch_size: Annotated[int | None, Option(help="Requests under way together; by default 32, on a GPU 64.")] = None,
    workers: Workers = None,
    ray: Ray = None,
    compiled: Annotated[bool, Option("--compile", help="Compile the model first: minutes, for long files.")] = False,
    decoding: Decoding = None,
    steps_ratio: Ratio = None,
    confidence_threshold: Threshold = None,
    unmasking: Unmasking = None,
    span_attention: Attention = None,
    length_scale: Scale = None,
    max_new_tokens: NewTokens = None,
    temperature: Temperature = None,
    top_p: TopP = None,
    top_k: TopK = None,
    seed: Seed = None,
    keep_plan: KeepPlan = False,
    others: Others = None,
    as_json: Json = False,
    dtype: Dtype = "auto",
    device: Device = "auto",
    debug: Debug = False,
):
    """Answer a file of requests, many at a time. Stopped? The same command goes on where it was."""
    settings = decoding_fields(
        temperature, keep_plan, others, decoding=decoding, steps_ratio=steps_ratio,
        confidence_threshold=confidence_threshold, unmasking=unmasking, span_attention=span_attention,
        length_scale=length_scale, max_new_tokens=max_new_tokens, top_p=top_p, top_k=top_k, seed=seed,
    )  # fmt: skip
    folder = chosen_model(model)
    quiet(debug)
    from ..inference.batch.run import Job
    from .batch import batch as run

    run(Job(source, out, folder, settings, dtype, device, batch_size, workers, ray, compiled), as_json)
