"""`planned-diffusion replay`: a trace on a pipe, on a terminal, and as a page."""

import io
import json
import sys

import pytest
from rich.console import Console

from planned_diffusion.cli.main import main
from planned_diffusion.cli.race import Racer, drawing_of_run, race
from planned_diffusion.cli.views import drawing_of
from planned_diffusion.inference.replay.page import replay_page
from planned_diffusion.inference.replay.trace_reading import recorded_run


@pytest.fixture
def traces(recorded, tmp_path):
    """(planned, left to right, their two documents)."""
    documents = recorded()[0], recorded(decoding="autoregressive")[0]
    paths = tmp_path / "planned.json", tmp_path / "plain.json"
    for path, document in zip(paths, documents, strict=True):
        path.write_text(json.dumps(document))
    return *paths, documents


def test_a_pipe_gets_the_text(traces, capsys):
    planned, plain, (document, other) = traces
    assert main(["replay", str(planned)]) == 0
    assert capsys.readouterr() == (document["text"] + "\n", "")
    assert main(["replay", str(planned), "--beside", str(plain)]) == 0
    assert capsys.readouterr().out == f"planned:\n{document['text']}\nleft to right:\n{other['text']}\n"


@pytest.mark.parametrize("is_terminal", [False, True])
def test_half_characters_and_what_a_terminal_would_obey(traces, capfd, monkeypatch, is_terminal):
    planned, _, (document, _) = traces
    document["text"] = "caf\ud83d \x1b[31mred \u202e"
    planned.write_text(json.dumps(document))
    monkeypatch.setenv("TERM", "dumb")
    monkeypatch.setattr(type(sys.stdout), "isatty", lambda stream: is_terminal, raising=False)
    for arguments in ([], ["--beside", str(planned)]):
        assert main(["replay", str(planned), *arguments]) == 0
        out = capfd.readouterr().out.removeprefix("planned:\n").splitlines()[0]
        escape, override = ("\N{SYMBOL FOR ESCAPE}", "<U+202E>") if is_terminal else ("\x1b", "\u202e")
        assert out == f"caf\N{REPLACEMENT CHARACTER} {escape}[31mred {override}"


def test_the_page_is_that_of_the_trace(traces, capsys, tmp_path):
    planned, plain, (document, other) = traces
    out = tmp_path / "replay.html"
    assert main(["replay", str(planned), "--beside", str(plain), "-o", str(out), "--title", "Kenya"]) == 0
    assert out.read_text(encoding="utf-8") == replay_page(document, other, title="Kenya")
    assert "kB; it opens in any browser" in capsys.readouterr().out


def test_a_trace_that_is_cut_off_is_shown_with_a_note(traces, capsys, tmp_path):
    planned, _, (document, _) = traces
    planned.write_text(planned.read_text()[: int(0.9 * len(planned.read_text()))])
    assert main(["replay", str(planned)]) == 0
    captured = capsys.readouterr()
    assert document["text"].startswith(captured.out.rstrip("\n")) and len(captured.out) > 10
    assert captured.err == f"note: {planned} is cut off, and is shown as far as it goes.\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["missing.json"], "cannot be read"),
        (["other.json"], "this is no trace"),
        (["planned.json", "--beside", "other.json"], "this is no trace"),
        (["planned.json", "-o", "missing/replay.html"], "give --out another place"),
        (["planned.json", "--speed", "-1"], "give forwards per second"),
    ],
)
def test_bad_use_is_one_line(arguments, message, traces, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "other.json").write_text("{}")
    assert main(["replay", *arguments]) == 2
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.count("\n") == 1 and message in captured.err


def screen(width=100, height=40):
    return Console(record=True, force_terminal=True, width=width, height=height, file=io.StringIO())


@pytest.mark.parametrize(
    "fields", [{}, {"decoding": "block_diffusion", "block_size": 8}, {"decoding": "autoregressive"}]
)
def test_the_pictures_of_a_replay_are_those_of_the_answer(fields, recorded, facts):
    """After every event the recorded run, spelled by itself, is drawn as the model's tokenizer draws it."""
    document, events = recorded(**fields)
    run = recorded_run(document)
    ours, live = drawing_of_run(run), drawing_of(facts, fields)
    live.unit = ours.unit if not document["plans"] else live.unit
    assert ours.unit == live.unit
    for (_, again), event in zip(run.events, events, strict=True):
        pictures = []
        for drawing, one in ((ours, again), (live, event)):
            drawing.add(one)
            console = screen()
            console.print(drawing.frame(console))
            pictures.append(console.export_text())
        assert pictures[0] == pictures[1]


@pytest.mark.parametrize("speed", ["0", "1000"])
def test_a_terminal_is_shown_every_round(speed, traces, monkeypatch):
    planned, _, (document, _) = traces
    console = screen()
    monkeypatch.setattr("planned_diffusion.cli.views.can_redraw", lambda: True)
    monkeypatch.setattr("rich.console.Console", lambda **options: console)
    assert main(["replay", str(planned), "--speed", speed]) == 0
    text = console.export_text()
    assert "round 1" in text and "capital" in text and " ".join(document["text"].split()[:6]) in text
    assert f"{document['counts']['forwards']} forwards" in text and "first outline word after" in text


@pytest.mark.parametrize("width", [60, 120])
def test_two_runs_race_in_step(width, recorded):
    runs = [recorded_run(recorded()[0]), recorded_run(recorded(decoding="autoregressive")[0])]
    console = screen(width)
    racers = [Racer.of(run) for run in runs]
    assert [len(racer.forwards) for racer in racers] == [1 + run.answer().trace.forwards for run in runs]
    race(console, racers, speed=0)
    text = console.export_text()
    first = text.splitlines()[0]
    for title, run in zip(("planned", "left to right"), runs, strict=True):
        assert f"{title}: {run.answer().trace.forwards} forwards" in text
    assert len(first) == width and first.count("╭") == (2 if width >= 100 else 1)
    for racer in racers:
        assert racer.answer.text.split()[-1] in text
