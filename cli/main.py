"""`planned-diffusion`: its commands, exit status and errors. To add a command, add its function to a list below.

Errors are one line on stderr; the exit status is 2 for bad use, 1 for a failure, 130 after Ctrl-C. Heavy modules are
imported inside the commands, so that help and refusals appear at once.
"""

import os
import sys
from typing import Annotated

import typer
from typer import Option

from .. import __version__
from .annotate import annotate
from .batch import batch
from .chat import chat
from .checkpoints import convert, export, push
from .doctor import doctor
from .evaluate import evaluate
from .generate import generate
from .pays import pays
from .replay import replay
from .run_report import report as run_report
from .server import serve
from .sharing import GIVEN
from .show_page import app
from .signatures import as_command
from .study import study
from .train import train
from .tune_drafts import tune_drafts

NAME = "planned-diffusion"
COMMANDS = (
    generate, chat, replay, batch, train, tune_drafts, serve, app, annotate, evaluate, pays, study, run_report, convert,
    export, push, doctor
)  # fmt: skip
COMPLETE = "_PLANNED_DIFFUSION_COMPLETE"  # environment variable by which a shell's completion asks, as Typer names it
FORWARDING = (train,)  # all its arguments, --help included, go to another program
FORWARD_ALL = {"allow_extra_args": True, "ignore_unknown_options": True, "allow_interspersed_args": False}


def build_app() -> typer.Typer:
    """Return the command line, with the options that the tables of `generate` have at this moment."""
    commands = typer.Typer(
        help="Language models that plan first and then write in parallel (arXiv 2510.18087).",
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    commands.callback()(common_options)
    for command in COMMANDS:
        if command in FORWARDING:
            commands.command(add_help_option=False, context_settings=FORWARD_ALL)(command)
        else:
            commands.command()(as_command(command))
    return commands


def print_version(wanted: bool) -> None:
    """Print the version and exit, if it is wanted."""
    if wanted:
        print(f"{NAME} {__version__}")
        raise typer.Exit


def common_options(
    version: Annotated[
        bool, Option("--version", is_eager=True, callback=print_version, help="Print the version.")
    ] = False,
) -> None:
    """Declare the options that stand before a command."""


def main(argv: list[str] | None = None) -> int:
    """Run one command and return the exit status."""
    arguments = (sys.argv[1:] if argv is None else list(argv)) or ["--help"]
    GIVEN.set(tuple(arguments))
    try:
        command = typer.main.get_command(build_app())
        if COMPLETE in os.environ:  # a shell asks what may follow
            command.main(arguments, prog_name=NAME)
        with command.make_context(NAME, arguments) as context:
            status = command.invoke(context) or 0
        sys.stdout.flush()  # here, where a reader that has left is noticed
        return status
    except typer.Exit as end:
        return end.exit_code
    except KeyboardInterrupt:
        print("Interrupted.", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader has left; nothing more can be printed, not even on the way out
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:
        if "--debug" in arguments:
            raise
        return report(error)


def report(error: Exception) -> int:
    """Print an error as one line on stderr; return 2 for bad use, 1 for a failure."""
    status, message = 1, str(error) or type(error).__name__
    own_message = getattr(error, "format_message", None)  # of Typer's errors
    if own_message is not None:
        status, message = 2, f"{own_message()} See {NAME} --help."
    elif isinstance(error, ValueError):
        status = 2
    elif not isinstance(error, (RuntimeError, FloatingPointError)):
        message = f"{type(error).__name__}: {message}"
    print(f"error: {' '.join(message.split())}", file=sys.stderr)
    return status
