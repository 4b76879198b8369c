"""`batch` reads requests from standard input as from a file, and goes on when the same are piped in again."""

import io
import json
import sys
import tempfile
from pathlib import Path

import pytest

from planned_diffusion.cli.main import main
from planned_diffusion.inference.batch import run as run_module
from planned_diffusion.inference.batch.job import BatchJob
from planned_diffusion.inference.batch.run import answer_file

ROWS = [{"prompt": "What?", "max_new_tokens": 20 + count} for count in range(4)]
LINES = "".join(json.dumps(row) + "\n" for row in ROWS)


@pytest.fixture
def temporary(tmp_path, monkeypatch):
    """The folder of temporary files."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def answers_in(path) -> list[dict]:
    return [{**json.loads(line), "seconds": None} for line in path.read_text().splitlines()]


def test_the_answers_are_those_of_a_file(run, checkpoint, temporary, tmp_path):
    source, wanted, out = (tmp_path / name for name in ("in.jsonl", "wanted.jsonl", "out.jsonl"))
    source.write_text(LINES)
    assert run("batch", source, wanted, "--model", checkpoint[1]).status == 0
    ran = run("batch", "-", out, "--model", checkpoint[1], stdin=LINES)
    assert (ran.status, ran.err) == (0, "") and "4 answers, " in ran.out
    assert answers_in(out) == answers_in(wanted) and not list(temporary.iterdir())


@pytest.mark.parametrize("again", ["-", "in.jsonl"])
def test_a_stopped_run_goes_on_with_the_same_requests(again, checkpoint, temporary, tmp_path, monkeypatch):
    def piped(text):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode())))

    def stop(ended, total):
        if ended == 2:
            raise KeyboardInterrupt

    job = BatchJob(Path("-"), tmp_path / "out.jsonl", str(checkpoint[1]), batch_size=1)
    piped(LINES)
    with pytest.raises(KeyboardInterrupt):
        answer_file(job, stop)
    piped(LINES + '{"prompt": "More?"}\n')
    with pytest.raises(ValueError, match=r"other settings \(changed: input\); finish it with those, or delete it"):
        answer_file(job)
    (tmp_path / "in.jsonl").write_text(LINES)
    piped(LINES)
    source = Path("-") if again == "-" else tmp_path / again
    summary = answer_file(BatchJob(source, job.out, job.model, batch_size=1))
    assert (summary["done_before"], summary["answered"]) == (2, 4)
    assert [row["id"] for row in answers_in(job.out)] == [1, 2, 3, 4]


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "standard input holds no requests"),
        (b"\n\n", "standard input holds no requests"),
        (b'{"prompt": "a"}\n{', "standard input, line 2: not JSON"),
        (b'{"prompt": "a"}\n\n{"text": "a"}\n', "standard input, line 3: text is no field of a request"),
        (b'{"id": 2, "prompt": "a"}\n{"prompt": "b"}\n', "standard input, line 2: its id 2 is that of line 1"),
        (b"\xff\n", "standard input, line 1: not UTF-8"),
    ],
)
def test_bad_standard_input_is_one_line_and_nothing_is_written(data, says, run, checkpoint, temporary, tmp_path):
    ran = run("batch", "-", tmp_path / "out.jsonl", "--model", checkpoint[1], stdin=data)
    assert ran.status == 2 and says in ran.err and ran.err.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["temporary"] and not list(temporary.iterdir())


@pytest.mark.parametrize("closed", [True, False])
def test_without_a_pipe_there_is_no_input(closed, checkpoint, tmp_path, monkeypatch, capsys):
    terminal = io.TextIOWrapper(io.BytesIO(b""))
    monkeypatch.setattr(terminal, "isatty", lambda: True)
    monkeypatch.setattr(sys, "stdin", None if closed else terminal)
    assert main(["batch", "-", str(tmp_path / "out.jsonl"), "--model", str(checkpoint[1])]) == 2
    assert "There is nothing on standard input; pipe JSON Lines in, or name a file" in capsys.readouterr().err


@pytest.mark.parametrize("source", ["-", "in.jsonl"])
def test_standard_output_is_no_place_for_answers(source, run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("in.jsonl").write_text(LINES)
    monkeypatch.setattr(run_module, "open_checkpoint", None)
    ran = run("batch", source, "-", "--model", "owner/model", stdin=LINES)
    assert ran.status == 2 and ran.err.count("\n") == 1
    assert "OUT is -, and batch keeps answers" in ran.err and "name a file" in ran.err
    assert [path.name for path in tmp_path.iterdir()] == ["in.jsonl"]
