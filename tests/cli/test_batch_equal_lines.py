"""Requests that are written alike are requests of their own: a resumed `batch` doubles, loses and swaps no answer."""

import json
from dataclasses import replace

import pytest

from planned_diffusion.inference.batch import run as run_module
from planned_diffusion.inference.batch.job import BatchJob
from planned_diffusion.inference.batch.run import answer_file

EQUAL = {"prompt": "What?"}
FILES = {
    "equal, without ids": [EQUAL] * 4,
    "equal, with ids": [{"id": name, **EQUAL} for name in "abcd"],
    "some with ids": [EQUAL, {"id": "b", **EQUAL}, EQUAL, {"id": "d", **EQUAL}],
    "others between them": [EQUAL, {"prompt": "Why?"}, EQUAL, {"prompt": "Why?"}],
    "OpenAI's": [{"custom_id": name, "body": {"messages": [{"role": "user", "content": "What?"}]}} for name in "abcd"],
    "one of them fails": [EQUAL, {"prompt": "fails"}, EQUAL, {"prompt": "fails"}],
}
ENDINGS = ([0, 1, 2, 3], [3, 2, 1, 0], [2, 0, 3, 1])  # orders in which requests end


class StoppedError(Exception):
    """Stands for whatever stops a run."""


@pytest.fixture
def answering(monkeypatch):
    """answering(order, stop=None): requests end in this order, each with a text of its own, until `stop` have ended."""
    drawn = []

    def entry(task):
        drawn.append(task.index)
        base = {"index": task.index, "hash": task.fingerprint}
        if task.prompt == "fails":
            return base | {"failed": {**task.row, "id": task.id, "error": f"error {len(drawn)}"}}
        return base | {"answered": {"id": task.id, "text": f"{task.index} drawn as {len(drawn)}"}}

    def set_up(order, stop=None):
        def entries(job, tasks, count):
            waiting = {task.index: task for task in tasks}
            for ended, index in enumerate(place for place in order if place in waiting):
                if ended == stop:
                    raise StoppedError
                yield entry(waiting[index])
            if stop == len(waiting):
                raise StoppedError

        monkeypatch.setattr(run_module, "_entries", entries)
        return drawn

    return set_up


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def rows_of(path):
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


@pytest.mark.parametrize("order", ENDINGS, ids=str)
@pytest.mark.parametrize("stop", range(5))
@pytest.mark.parametrize("name", FILES)
def test_every_request_has_one_answer_of_its_own(name, stop, order, answering, tmp_path):
    job = BatchJob(tmp_path / "in.jsonl", tmp_path / "out.jsonl", "owner/model")
    write(job.source, FILES[name])
    answering(order, stop)
    with pytest.raises(StoppedError):
        answer_file(job)
    drawn = answering(order)
    assert answer_file(job)["done_before"] == stop
    assert sorted(drawn) == [0, 1, 2, 3]
    ids = [row.get("id", row.get("custom_id", number)) for number, row in enumerate(FILES[name], 1)]
    is_failed = [row.get("prompt") == "fails" for row in FILES[name]]
    answers, failed = rows_of(job.out), rows_of(tmp_path / "out.jsonl.failed.jsonl")
    assert [row["id"] for row in answers] == [id_ for id_, fails in zip(ids, is_failed, strict=True) if not fails]
    assert [row["id"] for row in failed] == [id_ for id_, fails in zip(ids, is_failed, strict=True) if fails]
    assert [row["text"] for row in answers] == [
        f"{index} drawn as {drawn.index(index) + 1}" for index in range(4) if not is_failed[index]
    ]
    assert [row["error"] for row in failed] == [
        f"error {drawn.index(place) + 1}" for place in range(4) if is_failed[place]
    ]


@pytest.mark.parametrize("name", FILES)
def test_a_file_in_another_order_is_refused_and_what_is_finished_stays(name, answering, tmp_path):
    job = BatchJob(tmp_path / "in.jsonl", tmp_path / "out.jsonl", "owner/model")
    rows = [*FILES[name], {"prompt": "last"}]
    write(job.source, rows)
    answering(range(5), 3)
    with pytest.raises(StoppedError):
        answer_file(job)
    partial = (tmp_path / "out.jsonl.partial").read_bytes()
    write(job.source, rows[::-1])
    with pytest.raises(ValueError, match=r"other settings \(changed: input\); finish it with those, or delete it"):
        answer_file(job)
    assert (tmp_path / "out.jsonl.partial").read_bytes() == partial and not job.out.exists()
    write(tmp_path / "moved.jsonl", rows)
    answering(range(5))
    assert answer_file(replace(job, source=tmp_path / "moved.jsonl"))["done_before"] == 3
