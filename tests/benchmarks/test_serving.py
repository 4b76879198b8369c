"""The benchmark of servers: its questions and its table, and a small run of it."""

import json
from argparse import Namespace
from pathlib import Path

import pytest
from serving import compared, main, questions


def test_questions_name_countries_and_are_the_same_every_time():
    assert questions(5, seed=1) == questions(5, seed=1) != questions(5, seed=2)
    assert all(" and the " in question and question.endswith("?") for question in questions(20, seed=0))


def test_each_server_is_compared_with_itself():
    rows = [{"server": name, "answers/s": speed} for name, speed in (("a", 2.0), ("b", 1.0), ("a", 6.0), ("b", 1.5))]
    assert [row["by one"] for row in compared(rows)] == [1.0, 1.0, 3.0, 1.5]


@pytest.mark.slow
def test_a_small_run(tmp_path: Path, capsys):
    pytest.importorskip("prometheus_client", reason="serving needs prometheus-client")
    out = tmp_path / "serving.json"
    main(Namespace(model=None, users=[1, 2], requests=4, warm_up=1, ours_only=True, device="cpu", out=out))
    rows = json.loads(out.read_text())["rows"]
    assert [(row["server"], row["users"], row["answers"]) for row in rows] == [("ours", 1, 4), ("ours", 2, 4)]
    for row in rows:
        assert 0 < row["plan s"] <= row["text s"] <= row["all s"] <= row["p95 s"]
    assert "servers" in capsys.readouterr().out
