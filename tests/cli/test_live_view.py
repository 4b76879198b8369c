"""The live view, drawn from scripted events, and once on a real terminal."""

import io
import os
import sys

import pytest
from rich.console import Console

from planned_diffusion.cli.drawing import BLANK, Drawing
from planned_diffusion.cli.terminal import LiveView, costs
from planned_diffusion.generation import events, trace
from planned_diffusion.generation.plan import Round, Span, Unit, render_promise
from planned_diffusion.inference.answer import Answer

WIDTH = 90


@pytest.fixture
def view(tokenizer, control):
    console = Console(record=True, force_terminal=True, width=WIDTH, height=40, file=io.StringIO())
    with LiveView(console, Drawing(tokenizer, control, Unit(8)), seconds_per_frame=0) as view:
        yield view


class Script:
    """Events of a round with the spans given as (topic, number, text), laid out from position 10 on."""

    def __init__(self, tokenizer, control, parts, round=0):
        self.tokenizer, self.control, self.round = tokenizer, control, round
        spans, self.placed, start = [], [], 10 + 1000 * round
        for index, (topic, number, text) in enumerate(parts):
            topic_ids = tuple(tokenizer.encode(topic + " "))
            spans.append(Span(topic_ids, number, len(text) + 1))
            self.placed.append(events.PlacedSpan(index, topic_ids, start, start + len(text) + 1))
            start += len(text) + 3
        self.texts = [(*tokenizer.encode(text), control.span_pad) for _, _, text in parts]
        ids = [token for span in spans for token in render_promise(span.topic_ids, span.number, control)]
        self.plan = Round(tuple(spans), tuple(ids), control.eos[0])

    def planning(self):
        return [events.PlanToken(self.round, index, token) for index, token in enumerate(self.plan.plan_ids)]

    def laid_out(self):
        return events.PlanDone(self.round, self.plan, tuple(self.placed))

    def step(self, count, skip=0):
        """Writes `count` tokens of every span after the first `skip`."""
        written = {}
        for span, text in zip(self.placed, self.texts, strict=True):
            written |= dict(list(zip(span.positions, text, strict=True))[skip : skip + count])
        return events.TokensWritten(self.round, tuple(written), tuple(written.values()), (0.0,) * len(written))

    def closed(self, index):
        return events.SpanClosed(self.round, self.placed[index], self.texts[index])


@pytest.fixture
def script(tokenizer, control):
    return Script(tokenizer, control, [("capital", 2, "It is Nairobi."), ("currency", 12, " It is the shilling.")])


def drawn(view) -> str:
    """The present frame alone, as text."""
    console = Console(width=WIDTH, record=True, file=io.StringIO())
    console.print(view.drawing.frame(view.console))
    return console.export_text()


def test_a_plan_appears_token_by_token_with_its_promised_lengths(view, script, control):
    events = script.planning()
    for event in events[:4]:
        view.add(0, event)
    assert "cap▌" in drawn(view) and "round 1, planning" in drawn(view)
    for event in events[4:]:
        view.add(0, event)
    first, second = drawn(view).splitlines()[2:4]
    assert first.split()[1:4] == ["·", "capital", "16"] and second.split()[1:4] == ["·", "currency", "96"]


def test_spans_fill_and_close(view, script):
    for event in (*script.planning(), script.laid_out(), script.step(5)):
        view.add(0, event)
    first, second = drawn(view).splitlines()[2:4]
    assert first.split()[1:4] == ["○", "capital", "15"] and "It is" + BLANK * 10 in first
    assert "It i" + BLANK * 4 in second  # its first space is not shown
    view.add(0, script.step(100, skip=5))
    assert "It is Nairobi.·" in drawn(view)
    view.add(0, script.closed(0))
    first, second = drawn(view).splitlines()[2:4]
    assert first.split()[1] == "✓" and "It is Nairobi. " in first and second.split()[1] == "○"


def test_a_part_has_no_empty_lines_at_its_ends(view, tokenizer, control):
    script = Script(tokenizer, control, [("tips", 2, "\n\n 1. Sleep.\n\n2. Eat.\n")])
    for event in (script.laid_out(), script.step(1), script.step(1, skip=1), script.step(2, skip=2)):
        view.add(0, event)
    assert drawn(view).splitlines()[2].split()[4:6] == ["1", BLANK.strip()]
    for event in (script.step(100, skip=4), script.closed(0)):
        view.add(0, event)
    lines = [line.strip("│ \n") for line in drawn(view).splitlines()[2:-1]]
    assert [line.removeprefix("✓  tips").split(maxsplit=1)[-1:] for line in lines] == [["1. Sleep."], [], ["Eat."]]


def test_lines_break_between_blanks(view, tokenizer, control):
    script = Script(tokenizer, control, [("tips", 9, "Sleep and then " + "x" * 60)])
    for event in (script.laid_out(), script.step(9)):
        view.add(0, event)
    first, second = drawn(view).splitlines()[2:4]
    assert "Sleep and" + BLANK * 3 in first and BLANK * 3 in second


def test_new_tokens_are_highlighted_for_one_frame(view, script, control):
    view.add(0, script.laid_out())
    view.seconds_per_frame = 1000  # no more frames
    view.add(0, script.step(3))
    cell = view.drawing.span_row(script.placed[0])[3]
    assert cell.plain.startswith("It ") and "green" in str(cell.spans[0].style)
    view.draw(view.drawing.frame(view.console))
    view.add(0, script.step(2, skip=3))
    cell = view.drawing.span_row(script.placed[0])[3]
    assert [cell.plain[part.start : part.end] for part in cell.spans if "green" in str(part.style)] == ["is"]


def test_rounds_stay_and_the_text_follows_with_its_counts(view, script, tokenizer, control):
    second = Script(tokenizer, control, [("detail", 1, " More.")], round=1)
    for rounds in (script, second):
        for event in (*rounds.planning(), rounds.laid_out(), rounds.step(100)):
            view.add(0, event)
        for span in rounds.placed:
            view.add(0, rounds.closed(span.index))
        view.add(0, events.RoundClosed(rounds.round))
    view.add(0, events.Ended("eos", (), ()))
    counts = trace.Trace(20, 12, 8, 0, 1, 20, 30, 99, 0.5)
    view.finish(Answer("?", [1], "It is Nairobi. It is the shilling. More.", [], counts, "eos", "m", "planned"))
    shown = view.console.export_text()
    ending = shown.splitlines()[-2:]
    assert ending[0].strip() == "It is Nairobi. It is the shilling. More."
    assert ending[1].strip() == "20 forwards, 30 tokens, 0.50 seconds, 1.5 tokens per forward"
    for text in ("capital", "currency", "It is the shilling.", "round 2", "detail"):
        assert text in shown
    assert shown.rindex("round 1") < shown.rindex("round 2")


def test_the_counts_tell_guesses_by_how_far_ahead_they_were():
    drafted = {"drafts_checked": (9, 7, 4), "drafts_accepted": (6, 2)}
    for fields, told in (({}, []), (drafted, ["guesses right, the next token first: 6 of 9, 2 of 7, 0 of 4"])):
        counts = trace.Trace(20, 0, 0, 20, 0, 20, 28, 99, 0.5, **fields)
        lines = costs(Answer("?", [1], "It is.", [], counts, "eos", "m", "speculative")).splitlines()
        assert lines[1:] == told


def test_a_round_that_was_cut_short_stays_with_its_blanks(view, script):
    for event in (script.laid_out(), script.step(4), events.Ended("stop", (), ())):
        view.add(0, event)
    assert "It i" + BLANK * 11 in view.console.export_text().splitlines()[-3]


def test_text_without_a_plan_grows(view, tokenizer):
    for position, token in enumerate(tokenizer.encode("Plain\x1b[2J")):
        view.add(0, trace.Text((token,)))
        view.add(0, events.TokensWritten(0, (position,), (token,), (0.0,)))
    assert drawn(view).strip() == "Plain\N{SYMBOL FOR ESCAPE}[2J"  # what would steer the terminal is not passed on
    assert "green" in str(view.drawing.frame(view.console).spans[-1].style)


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
def test_a_terminal_gets_the_live_view(checkpoint, start_command, monkeypatch):
    import pty

    ours, theirs = pty.openpty()
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "100")
    process, errors = start_command("generate", "What?", "--model", checkpoint[1], out=theirs)
    os.close(theirs)
    shown = b""
    try:
        while piece := os.read(ours, 65536):
            shown += piece
    except OSError:  # how Linux says that the other side has closed
        pass
    os.close(ours)
    process.join()
    assert process.exitcode == 0 and errors.read_text() == ""
    screen = shown.decode()
    assert "round 1" in screen and "round 2" in screen and BLANK in screen and "tokens per forward" in screen
