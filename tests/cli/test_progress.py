"""The one progress bar: what it is told, what it shows, and that it hides where there is no terminal."""

import io
import time

from rich.console import Console
from rich.progress import MofNCompleteColumn

from planned_diffusion.cli import progress


def on_terminal(monkeypatch) -> io.StringIO:
    file = io.StringIO()
    monkeypatch.setattr(progress, "Console", lambda stderr: Console(force_terminal=True, width=100, file=file))
    return file


def test_the_bar_follows_what_is_done(monkeypatch):
    seen = []
    monkeypatch.setattr(progress.Progress, "update", lambda self, task, **fields: seen.append(fields))
    with progress.progress_bar("out") as show:
        show(1, 2)
        show(2, 2)
    assert seen == [{"completed": 1, "total": 2}, {"completed": 2, "total": 2}]


def test_a_terminal_shows_title_counts_and_speed(monkeypatch):
    file = on_terminal(monkeypatch)
    with progress.progress_bar("answering", MofNCompleteColumn(), progress.Speed("answers")) as show:
        for done in (3, 4, 5):
            show(done, 5)
            time.sleep(0.01)
    shown = file.getvalue()
    assert "answering" in shown and "5/5" in shown and "answers/s" in shown


def test_without_a_terminal_nothing_is_shown(capsys):
    with progress.progress_bar("answering") as show:
        show(1, 1)
    assert capsys.readouterr() == ("", "")
