"""A live view that is slowed down shows every forward, and leaves the model and its counts alone."""

import io
import time

import pytest
from rich.console import Console

from planned_diffusion.cli import pacing
from planned_diffusion.cli.drawing import Drawing
from planned_diffusion.cli.pacing import PacedView, paced
from planned_diffusion.cli.terminal import LiveView, PipeView
from planned_diffusion.cli.views import view_of
from planned_diffusion.generation import events, trace
from planned_diffusion.generation.plan import Unit
from planned_diffusion.inference.answer import Answer, open_checkpoint

ANSWER = Answer("?", [1], "abcd", [], trace.Trace(4, 0, 4, 0, 1, 4, 4, 9, 0.01), "eos", "m", "autoregressive")


@pytest.fixture
def view(tokenizer, control):
    console = Console(record=True, force_terminal=True, width=60, height=10, file=io.StringIO())
    return LiveView(console, Drawing(tokenizer, control, Unit(8)), seconds_per_frame=0)


def written(tokenizer):
    """The events of four forwards that write "abcd" from left to right."""
    for position, token in enumerate(tokenizer.encode("abcd")):
        yield events.Forward("denoising", 1, False)
        yield trace.Text((token,))
        yield events.TokensWritten(0, (position,), (token,), (0.0,))


def shown(view, tokenizer) -> tuple[float, float]:
    """The seconds that adding all events takes, and those until all is shown."""
    started = time.perf_counter()
    with view:
        for event in written(tokenizer):
            view.add(0, event)
        added = time.perf_counter()
        view.finish(ANSWER)
    return added - started, time.perf_counter() - started


def test_every_forward_has_its_time_and_the_model_waits_for_none(view, tokenizer):
    added, all_shown = shown(PacedView(view, 0.05, 10), tokenizer)
    assert added < 0.05 and all_shown >= 4 * 0.05
    assert view.console.export_text().rstrip().endswith("tokens per forward") and "0.01 seconds" in counts_of(view)


def counts_of(view) -> str:
    return view.console.file.getvalue()


def test_a_view_that_is_too_far_behind_hurries(view, tokenizer):
    assert shown(PacedView(view, 0.2, 0.0), tokenizer)[1] < 0.2


def test_the_speed_is_forwards_per_second(view):
    assert paced(view, 0) is view
    given, default = paced(view, 4), paced(view, None)
    assert (given.seconds_per_forward, given.most_behind) == (0.25, float("inf"))
    assert (default.seconds_per_forward, default.most_behind) == (1 / pacing.DEFAULT_SPEED, pacing.MOST_BEHIND)


def test_an_interruption_ends_the_view_at_once(view, tokenizer):
    started = time.perf_counter()
    with pytest.raises(KeyboardInterrupt), PacedView(view, 60, 600) as slow:
        for event in written(tokenizer):
            slow.add(0, event)
        raise KeyboardInterrupt
    assert time.perf_counter() - started < 5


def test_an_error_while_drawing_is_raised_where_the_view_ends(view, tokenizer, monkeypatch):
    def fail(event):
        raise BrokenPipeError("left")

    monkeypatch.setattr(view.drawing, "add", fail)
    with pytest.raises(BrokenPipeError):
        shown(PacedView(view, 0, 1), tokenizer)


def test_a_pipe_is_not_slowed_down_and_a_terminal_is(checkpoint, monkeypatch):
    loaded = open_checkpoint(str(checkpoint[1]))
    assert isinstance(view_of(loaded, {}, speed=1), PipeView)
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    assert isinstance(view_of(loaded, {}), PacedView) and isinstance(view_of(loaded, {}, speed=0), LiveView)


@pytest.mark.parametrize("speed", ["-1", "nan"])
def test_a_speed_that_is_none_is_refused(speed, run, checkpoint):
    ran = run("generate", "What?", "--model", checkpoint[1], "--speed", speed)
    assert ran.status == 2 and "give forwards per second" in ran.err and ran.err.count("\n") == 1
