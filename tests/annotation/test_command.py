"""`planned-diffusion annotate`: one line for every error, and what kill -9 leaves is gone on with."""

import io
import json
import signal
import sys
import time

import pytest

from planned_diffusion.cli.main import main
from planned_diffusion.records.output import beside


@pytest.fixture(autouse=True)
def loud_again():
    """The command line silences transformers; other tests want it as it was."""
    from transformers.utils import logging

    verbosity = logging.get_verbosity()
    yield
    logging.set_verbosity(verbosity)
    logging.enable_progress_bar()


@pytest.fixture
def command(capsys):
    """command("annotate", ...) -> exit status, standard output, standard error."""

    def command(*arguments):
        status = main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return command


def test_a_table_and_the_names_of_the_files(command, jsonl, rows, tmp_path):
    source = jsonl([*rows(3), {"prompt": "x", "response": "", "id": 9}])
    status, out, _ = command("annotate", source, tmp_path / "out.jsonl")
    assert status == 0 and "4 read, 3 written" in out and "75.0%" in out and "critical path" in out
    assert "out.jsonl.refused.jsonl" in out and "The answer is empty" in out
    assert len((tmp_path / "out.jsonl").read_text().splitlines()) == 3


def test_json_for_scripts(command, jsonl, rows, tmp_path):
    status, out, _ = command("annotate", jsonl(rows(2)), tmp_path / "out.jsonl", "--json", "--plain", "drop")
    assert status == 0 and json.loads(out)["kinds"] == {"parallel": 2}


@pytest.mark.parametrize(
    ("arguments", "status", "complaint"),
    [
        (["--annotator", "oracle"], 2, "choose structure or llm"),
        (["--annotator", "llm"], 2, "give --llm"),
        (["--annotator", "llm", "--llm", "m", "--endpoint", "nowhere"], 2, "give a URL"),
        (["--annotator", "llm", "--llm", "m", "--endpoint", "http://127.0.0.1:9/v1"], 1, "fails (APIConnectionError"),
        (["--limit", "0"], 2, "limit is 0"),
        (["--min-gain", "1.2"], 2, "min_gain is 1.2; give the largest critical path"),
        (["--min-gain", "0"], 2, "min_gain is 0.0; give"),
        (["--min-gain", "half"], 2, "min_gain is 'half'; give a number"),
        (["--model", "no/where/else"], 2, "There is no folder"),
    ],
)
def test_errors_are_one_line(arguments, status, complaint, command, jsonl, rows, tmp_path, monkeypatch):
    pytest.importorskip("openai")
    import openai

    monkeypatch.setattr(openai.AsyncOpenAI, "_calculate_retry_timeout", lambda *_, **__: 0.01)
    got, out, err = command("annotate", jsonl(rows(1)), tmp_path / "out.jsonl", *arguments)
    assert got == status and complaint in err and err.count("\n") == 1 and out == ""


def test_a_malformed_line_is_named(command, tmp_path):
    (tmp_path / "in.jsonl").write_text('{"prompt": "a", "response": "b"}\n{"prompt"\n')
    status, _, err = command("annotate", tmp_path / "in.jsonl", tmp_path / "out.jsonl")
    assert status == 2 and "line 2: not JSON" in err and err.count("\n") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.jsonl"]


def test_an_estimate_asks_nothing(command, jsonl, rows, tmp_path):
    arguments = ["--annotator", "llm", "--llm", "m", "--estimate"]
    status, out, _ = command("annotate", jsonl(rows(3)), tmp_path / "out.jsonl", *arguments)
    assert status == 0 and json.loads(out)["requests"] == 3 and not (tmp_path / "out.jsonl").exists()


def test_an_endpoint_must_keep_to_the_most_spans(command, endpoint, jsonl, rows, tmp_path):
    pytest.importorskip("openai")
    spans = [{"topic": letter, "first": number, "last": number} for number, letter in enumerate("abcde", start=1)]
    endpoint.reply = lambda chat, number: json.dumps({"rounds": [spans]})
    asking = ["--annotator", "llm", "--llm", "m", "--endpoint", endpoint.url, "--json"]
    for most, refused in ((4, 1), (5, 0)):
        arguments = [jsonl(rows(1)), tmp_path / f"{most}.jsonl", *asking, "--max-spans", most]
        status, out, _ = command("annotate", *arguments)
        assert status == 0 and sum(json.loads(out)["refused"].values()) == refused


@pytest.mark.slow
def test_kill_9_in_the_middle_loses_nothing_and_nothing_is_asked_twice(
    endpoint, jsonl, rows, command, start_command, tmp_path
):
    pytest.importorskip("openai")
    out, seen = tmp_path / "out.jsonl", 12

    def reply(chat, number):
        if number >= seen:
            time.sleep(60)  # the process is killed while it waits
        return '{"rounds": [[{"topic": "a", "first": 1, "last": 2}, {"topic": "b", "first": 3, "last": 5}]]}'

    endpoint.reply = reply
    arguments = ["annotate", jsonl(rows(30)), out, "--annotator", "llm", "--llm", "m", "--endpoint", endpoint.url]
    arguments += ["--concurrency", "3"]
    process, _ = start_command(*arguments)
    partial, deadline = beside(out, ".partial"), time.monotonic() + 60
    while not partial.exists() or partial.read_bytes().count(b"\n") < 1 + seen:
        assert process.is_alive() and time.monotonic() < deadline
        time.sleep(0.02)
    process.kill()
    process.join()
    assert process.exitcode == -signal.SIGKILL and not out.exists()
    with partial.open("ab") as file:
        file.write(b'{"index": 29, "hash": "torn')  # as if it had been killed while it wrote
    finished = {json.loads(line)["index"] for line in partial.read_bytes().splitlines()[1:-1]}
    endpoint.chats.clear()
    endpoint.reply = lambda chat, number: reply(chat, 0)
    status, _, errors = command(*arguments)
    assert status == 0, errors
    asked = {int(chat[1]["content"].split("number ")[1].split(".")[0]) for chat in endpoint.chats}
    assert asked == set(range(30)) - finished and len(endpoint.chats) == len(asked)
    assert [json.loads(line)["id"] for line in out.read_text().splitlines()] == list(range(30))
    assert not partial.exists()


@pytest.fixture
def piped(monkeypatch):
    """piped(bytes) puts them on standard input."""
    return lambda data: monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))


def test_standard_input_gives_the_records_of_a_file(command, jsonl, rows, tmp_path, piped):
    source = jsonl([*rows(3), {"prompt": "x", "response": ""}])
    assert command("annotate", source, tmp_path / "file.jsonl")[0] == 0
    piped(source.read_bytes())
    status, out, _ = command("annotate", "-", tmp_path / "out.jsonl")
    assert status == 0 and "4 read, 3 written" in out
    for ending in ("", ".refused.jsonl", ".report.json"):
        given, wanted = (beside(tmp_path / f"{name}.jsonl", ending).read_bytes() for name in ("out", "file"))
        assert given == wanted


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "standard input holds no records"),
        (b'{"prompt": "a", "response": "b"}\n{', "standard input, line 2: not JSON"),
        (b'{"title": "a"}', "standard input, line 1: no columns"),
        (b"\xff\n", "standard input, line 1: not UTF-8"),
    ],
)
def test_bad_standard_input_is_one_line(data, says, command, tmp_path, piped):
    piped(data)
    status, _, err = command("annotate", "-", tmp_path / "out.jsonl")
    assert status == 2 and says in err and err.count("\n") == 1 and list(tmp_path.iterdir()) == []


def test_a_terminal_is_no_input(command, tmp_path, monkeypatch, piped):
    piped(b"")
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True)
    status, _, err = command("annotate", "-", tmp_path / "out.jsonl")
    assert status == 2 and "pipe JSON Lines in" in err


def test_images_are_counted_and_said(command, jsonl, rows, tmp_path):
    picture = {"prompt": [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "What is it?"}]}]}
    picture |= {"response": [{"role": "assistant", "content": "A cat."}]}
    status, out, _ = command("annotate", jsonl([*rows(1), picture, picture]), tmp_path / "out.jsonl", "--json")
    assert status == 0 and json.loads(out)["refused"] == {"A turn has a part of the type 'image'": 2}
