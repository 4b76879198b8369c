"""`planned-diffusion tune-drafts`: what it writes and says, and that answers stay."""

import json
import shutil

import pytest

from planned_diffusion.checkpoint_planned_diffusion import TRANSITION

ANSWERS = ("It is red.", "It is a very long road.", "Yes, it is.", "No, it is not.")
ASK = ("generate", "What?", "--decoding", "speculative", "--max-new-tokens", "40", "--json", "--model")


@pytest.fixture
def folder(checkpoint, tmp_path):
    """A copy of the tiny checkpoint, which may be changed."""
    shutil.copytree(checkpoint[1], tmp_path / "checkpoint")
    return tmp_path / "checkpoint"


@pytest.fixture
def records(tmp_path):
    """Plain answers to plain questions."""
    lines = [
        {"messages": [{"role": "user", "content": f"What {n}?"}, {"role": "assistant", "content": ANSWERS[n % 4]}]}
        for n in range(24)
    ]
    (tmp_path / "records.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return tmp_path / "records.jsonl"


def test_it_writes_a_file_and_the_answer_stays(run, folder, records):
    before = json.loads(run(*ASK, folder).out)
    ran = run("tune-drafts", folder, records, "--rank", "8", "--epochs", "8")
    assert ran.status == 0 and (folder / TRANSITION).is_file()
    first, second, *guesses = ran.out.splitlines()
    assert str(folder) in first and "guesses before are right" in second
    assert [line.split(" is right in ")[0] for line in guesses] == [f"guess {place}" for place in (1, 2, 3, 4)]
    assert json.loads(run(*ASK, folder).out)["text"] == before["text"]


def test_json(run, folder, records):
    told = json.loads(run("tune-drafts", folder, records, "--guesses", "300", "--json").out)
    assert told["guesses"] == 300 and told["settings"] == {"rank": 64, "guesses": 300, "epochs": 3, "seed": 0}
    assert len(told["right_with"]) == len(told["right_without"]) == 4 and told["seconds"] > 0


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (["nobody/nothing", "records.jsonl"], "is no folder on this machine"),
        (["checkpoint", "nothing.jsonl"], "There is no file"),
        (["checkpoint", "records.jsonl", "--rank", "0"], "rank is 0; give at least 1"),
        (["checkpoint", "few.jsonl"], "There are 3 records; give at least 10"),
    ],
)
def test_refusals_are_one_line_and_nothing_is_written(given, says, run, folder, records, monkeypatch):
    monkeypatch.chdir(folder.parent)
    (folder.parent / "few.jsonl").write_text("".join(records.read_text().splitlines(keepends=True)[:3]))
    ran = run("tune-drafts", *given)
    assert ran.status == 2 and says in ran.err and ran.err.count("\n") == 1 and ran.out == ""
    assert not (folder / TRANSITION).exists()
