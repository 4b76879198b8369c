"""`planned-diffusion generate`: answer one prompt, and show how it is written."""

import json
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from typer import Argument, Option

from .field_options import given_fields
from .included_model import note_on_prompt
from .model_names import checkpoint_of
from .options import Loading, Output, Speed, check_speed, check_writable, quiet

if TYPE_CHECKING:
    from ..inference.answer import Checkpoint, Fields


def generate(
    loading: Loading,
    output: Output,
    prompt: Annotated[list[str] | None, Argument(help="The prompt; - or nothing: standard input.")] = None,
    trace: Annotated[Path | None, Option(metavar="FILE", help="Write every event of the generation as JSON.")] = None,
    speed: Speed = None,
    schema: Annotated[
        Path | None,
        Option(metavar="FILE", help="JSON schema that the answer fits; it is filled in as a form and printed."),
    ] = None,
    **fields: object,
) -> None:
    """Answer a prompt; a terminal shows how it is written.

    Fields that are not given are the checkpoint's own; docs/fields.md lists decoders and fields.
    """
    given = given_fields(fields)
    text = read_prompt(prompt or [])
    if trace:
        check_writable(trace)
    check_speed(speed)
    outline = None if schema is None else read_schema(schema, trace)
    source = checkpoint_of(loading.model, output.debug)
    checkpoint = load_checkpoint(source, loading, given, output.debug)
    note_on_prompt(source, text)
    if outline is not None:
        from ..inference.form import fill_form

        print(json.dumps(fill_form(checkpoint, text, outline, given), ensure_ascii=False))
        return
    show_answer(checkpoint, text, given, output.as_json, trace, speed)


def load_checkpoint(source: str, loading: Loading, fields: "Fields", debug: bool) -> "Checkpoint":
    """Load the checkpoint once the fields are checked; a terminal shows that it is being loaded."""
    from rich.console import Console

    with Console(stderr=True).status(f"loading {source}"):
        quiet(debug)
        from ..inference import answer

        answer.check_fields(fields)
        return answer.open_checkpoint(source, loading.dtype, loading.device)


def read_schema(file: Path, trace: Path | None) -> object:
    """Return the JSON schema in a file, checked before anything is loaded.

    Raises:
        ValueError: no such file, no JSON, a schema that cannot be filled in, or a trace, which forms do not write.
    """
    if trace is not None:
        raise ValueError("--schema prints an object and writes no trace; leave --trace out.")
    from ..inference.form_schema import outline_of

    try:
        schema = json.loads(file.expanduser().read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ValueError(f"{file} is no JSON file that can be read ({error}); give --schema a JSON schema.") from error
    outline_of(schema)
    return schema


def show_answer(
    checkpoint: "Checkpoint",
    prompt: str,
    fields: "Fields",
    as_json: bool = False,
    trace: Path | None = None,
    speed: float | None = None,
) -> None:
    """Answer a prompt and print the answer while it is written, or at the end as JSON.

    The trace is complete before the last line is printed.
    """
    from ..inference.answer import ask
    from ..inference.recording import Recording, write_trace
    from .views import view_of

    recording = Recording(checkpoint.tokenizer)
    with nullcontext() if as_json else view_of(checkpoint, fields, speed) as view:
        listeners = ([recording.add] if trace else []) + ([view.add] if view else [])
        answer = ask(checkpoint, prompt, fields, listeners)
        if trace:
            write_trace(trace, recording.document(answer, fields))
        if view:
            view.finish(answer)
        else:
            print(json.dumps(answer.timed_json(), ensure_ascii=False))


def read_prompt(words: list[str]) -> str:
    """Return the words of the command line as a prompt, or standard input."""
    is_piped = words in ([], ["-"])
    if is_piped and (sys.stdin is None or (not words and sys.stdin.isatty())):
        raise ValueError("There is no prompt; give one as an argument, or pipe one in.")
    try:
        if is_piped:
            text = sys.stdin.buffer.read().decode("utf-8").removesuffix("\n").removesuffix("\r")
        else:
            text = " ".join(words)
            text.encode("utf-8")
    except UnicodeError as error:
        reason = error.reason if isinstance(error, (UnicodeDecodeError, UnicodeEncodeError)) else error
        raise ValueError(f"The prompt is not UTF-8 text ({reason}); convert it first.") from error
    if not text.strip():
        raise ValueError("The prompt is empty; give some text.")
    return text
