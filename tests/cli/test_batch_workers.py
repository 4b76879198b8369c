"""`batch` on Ray Data: the same answers as in one process, each once, even when a worker is killed."""

import json
import os
import signal
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from planned_diffusion.inference.batch import ray_workers as workers
from planned_diffusion.inference.batch.batcher import Batcher
from planned_diffusion.inference.batch.job import BatchJob
from planned_diffusion.inference.batch.ray_workers import Worker
from planned_diffusion.inference.batch.run import answer_file
from planned_diffusion.inference.batch.tasks import open_tasks
from planned_diffusion.records.journal import Journal


@pytest.fixture
def job(checkpoint, tmp_path):
    """job(requests, **fields): a job with requests of different lengths."""

    def make(count: int, **fields):
        rows = [{"id": f"r{index}", "prompt": "What?", "max_new_tokens": 20 + index % 50} for index in range(count)]
        source = tmp_path / "in.jsonl"
        source.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return BatchJob(source, tmp_path / "out.jsonl", str(checkpoint[1]), **fields)

    return make


def answers(path) -> list[dict]:
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    return [{name: value for name, value in row.items() if name != "seconds"} for row in rows]


def test_the_callers_of_a_worker_share_one_batcher(job, checkpoint, monkeypatch):
    """Three calls at a time with two requests each: everyone gets the own answers, and forwards are shared."""
    widths, tick = [], Batcher.tick
    monkeypatch.setattr(Batcher, "tick", lambda batcher: (widths.append(len(batcher)), tick(batcher))[1])
    asked = job(6)
    tasks = list(open_tasks(asked.source))
    worker = Worker(replace(asked, device="cpu"), batch_size=4)
    blocks = [{"task": [json.dumps(asdict(task)) for task in tasks[start : start + 2]]} for start in (0, 2, 4)]
    with ThreadPoolExecutor(3) as callers:
        got = [json.loads(entry) for block in callers.map(worker, blocks) for entry in block["entry"]]
    assert [entry["index"] for entry in got] == list(range(6)) and max(widths) == 4
    answer_file(asked)
    assert [{**entry["answered"], "seconds": None} for entry in got] == [
        {**row, "seconds": None} for row in map(json.loads, asked.out.read_text().splitlines())
    ]


@pytest.mark.parametrize(
    ("error", "broken"),
    [
        (MemoryError("full"), {"broken": "MemoryError: full", "bad_use": False}),
        (ValueError("No."), {"broken": "No.", "bad_use": True}),
    ],
)
def test_a_worker_that_fails_tells_all_its_callers(error, broken, job, monkeypatch):
    def fail(batcher):
        raise error

    asked = job(2)
    tasks = [json.dumps(asdict(task)) for task in open_tasks(asked.source)]
    monkeypatch.setattr(Batcher, "tick", fail)
    worker = Worker(replace(asked, device="cpu"), batch_size=1)
    for _ in range(2):
        assert [json.loads(entry) for entry in worker({"task": tasks})["entry"]] == [broken, broken]
    nowhere = Worker(replace(asked, model=str(asked.source.parent), device="cpu"), batch_size=1)
    [entry] = nowhere({"task": tasks[:1]})["entry"]
    assert "cannot be loaded" in json.loads(entry)["broken"] and json.loads(entry)["bad_use"]


class StubRay:
    """Stands for a Ray whose workers hand over one answer, and then what `last` says."""

    class exceptions:
        class RayError(Exception):
            pass

    def __init__(self):
        self.is_down = False

    def shutdown(self):
        self.is_down = True


@pytest.mark.parametrize(
    ("last", "kind", "says"),
    [
        ({"broken": "MemoryError: full", "bad_use": False}, RuntimeError, r"failed \(MemoryError: full\); finished"),
        ({"broken": "No.", "bad_use": True}, ValueError, "^No.$"),
        (StubRay.exceptions.RayError(), RuntimeError, r"failed \(RayError\); .* safe in .*partial"),
    ],
)
def test_a_broken_worker_ends_the_run_and_what_is_finished_is_kept(last, kind, says, job, monkeypatch):
    ray, asked = StubRay(), job(2, workers=2)
    [first, _] = [task.fingerprint for task in open_tasks(asked.source)]

    def answering(*_):
        yield {"index": 0, "hash": first, "answered": {"id": "r0", "counts": {"tokens": 1}}}
        if isinstance(last, Exception):
            raise last
        yield last

    monkeypatch.setattr(workers, "import_ray", lambda *_: ray)
    monkeypatch.setattr(workers, "start_ray", lambda *_: (2, {}))
    monkeypatch.setattr(workers, "_run", answering)
    with pytest.raises(kind, match=says):
        answer_file(asked)
    assert ray.is_down and not asked.out.exists()
    assert answer_file(replace(asked, workers=None))["done_before"] == 1


def test_without_ray_one_sentence_says_what_to_install(run, checkpoint, job, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    asked = job(1)
    ran = run("batch", asked.source, asked.out, "--model", checkpoint[1], "--workers", "2")
    assert ran.status == 1 and ran.err.count("\n") == 1
    assert "pip install 'planned-diffusion[ray]', or leave --workers and --ray out" in ran.err


def actors() -> set[int]:
    """Process numbers of the actors of Ray that descend from this process."""
    parents, found = {}, set()
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            command = (folder / "cmdline").read_bytes().decode(errors="replace")
            parents[int(folder.name)] = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
        except OSError:  # it has just ended
            continue
        if command.startswith("ray::MapWorker(MapBatches(Worker))"):
            found.add(int(folder.name))

    def descends(process: int) -> bool:
        return process == os.getpid() or (process in parents and descends(parents[process]))

    return {process for process in found if descends(process)}


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="finding the actors' processes needs /proc")
@pytest.mark.filterwarnings("ignore")  # Ray's own, and of the processes that it leaves to be collected
def test_killing_a_worker_loses_nothing_and_doubles_nothing(job, monkeypatch, tmp_path):
    pytest.importorskip("ray.data", reason="workers need Ray: pip install 'planned-diffusion[ray]'")
    asked = job(80, workers=2, batch_size=4)
    written, killed, append = [], [], Journal.append

    def noting(journal, *entries):
        written.extend(entry.get("index") for entry in entries)
        append(journal, *entries)

    monkeypatch.setattr(Journal, "append", noting)

    def kill(finished: int, total: int) -> None:
        if finished >= 8 and not killed:
            before = actors()
            assert before
            killed.append(min(before))
            os.kill(killed[0], signal.SIGKILL)

    summary = answer_file(asked, kill)
    assert killed and killed[0] not in actors()
    assert summary["answered"] == 80 and written[0] is None and sorted(written[1:]) == list(range(80))
    alone = tmp_path / "alone.jsonl"
    answer_file(BatchJob(asked.source, alone, asked.model, batch_size=4))
    assert answers(asked.out) == answers(alone)
