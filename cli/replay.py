"""`planned-diffusion replay`: show a recorded answer again, on the terminal or as one HTML file."""

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from typer import Argument, Option

from .options import Debug, check_speed, check_writable, quiet

if TYPE_CHECKING:
    from ..inference.replay.trace_reading import RecordedRun


def replay(
    trace: Annotated[Path, Argument(metavar="TRACE", help="A file that generate --trace has written.")],
    out: Annotated[
        Path | None,
        Option("--out", "-o", metavar="FILE", help="Write one HTML file that any browser plays, without a network."),
    ] = None,
    beside: Annotated[
        Path | None,
        Option(metavar="TRACE", help="A second trace, such as left to right, shown in step."),
    ] = None,
    title: Annotated[str, Option(help="Title of the HTML file.", show_default="the prompt")] = "",
    speed: Annotated[
        float | None,
        Option(
            metavar="X",
            help="Forwards per second that a terminal shows; 0: each forward when the model made it.",
            show_default="8",
        ),
    ] = None,
    debug: Debug = False,
) -> None:
    """Show how a recorded answer was written; no model is loaded."""
    check_speed(speed)
    if out is not None:
        check_writable(out, "--out")
    quiet(debug)
    from ..inference.replay.trace_reading import read_trace

    run = read_trace(trace)
    other = None if beside is None else read_trace(beside)
    for file, one in ((trace, run), (beside, other)):
        if one is not None and not one.is_whole:
            print(f"note: {file} is cut off, and is shown as far as it goes.", file=sys.stderr)
    if out is not None:
        write_page(out, run, other, title)
    elif other is None:
        show_again(run, speed)
    else:
        show_race(run, other, speed)


def write_page(out: Path, run: "RecordedRun", beside: "RecordedRun | None", title: str) -> None:
    """Write a replay as one HTML file."""
    from ..inference.recording import write_whole
    from ..inference.replay.page import replay_page

    page = replay_page(run, beside, title=title)
    write_whole(out, page)
    print(f"{out}: {len(page.encode()) / 1000:.0f} kB; it opens in any browser.")


def show_again(run: "RecordedRun", speed: float | None) -> None:
    """Show a run on the terminal, forward by forward; elsewhere print its text."""
    from rich.console import Console

    from .pacing import DEFAULT_SPEED, paced
    from .race import drawing_of_run
    from .terminal import LiveView, printable
    from .views import can_redraw

    answer = run.answer()
    if not can_redraw():
        print(printable(answer.text), flush=True)
        return
    view = paced(LiveView(Console(), drawing_of_run(run)), DEFAULT_SPEED if speed is None else speed)
    with view:
        started = time.monotonic()
        for at_seconds, event in run.events:
            if speed == 0:
                time.sleep(max(0.0, started + at_seconds - time.monotonic()))
            view.add(0, event)
        view.finish(answer)


def show_race(run: "RecordedRun", other: "RecordedRun", speed: float | None) -> None:
    """Show two runs in step on the terminal; elsewhere print their texts."""
    from rich.console import Console

    from .race import Racer, race
    from .terminal import printable
    from .views import can_redraw

    racers = [Racer.of(run), Racer.of(other)]
    if can_redraw():
        race(Console(), racers, speed)
    else:
        for racer in racers:
            print(f"{racer.name}:\n{printable(racer.answer.text)}", flush=True)
