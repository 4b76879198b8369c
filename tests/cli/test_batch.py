"""`batch`: the answers are those of each request alone, and a run that was stopped goes on exactly where it was."""

import json
import os
import shutil
import signal
import time
from dataclasses import replace

import pytest
import torch

from planned_diffusion.generation.decoders.table import DECODERS
from planned_diffusion.generation.engine.engine import Engine
from planned_diffusion.inference import answer as answer_module
from planned_diffusion.inference.batch import job as job_module
from planned_diffusion.inference.batch import run as run_module
from planned_diffusion.inference.batch.batcher import Batcher, outcomes
from planned_diffusion.inference.batch.job import BatchJob
from planned_diffusion.inference.batch.run import answer_file
from planned_diffusion.inference.batch.tasks import open_tasks

# Of different lengths, kinds and decoders, so that none of them keeps step with another.
LINES = (
    {"prompt": "What?"},
    {"id": "short", "prompt": "What?", "max_new_tokens": 20},
    {"id": "chat", "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "What?"}]},
    {"id": "left to right", "prompt": "What?", "decoding": "autoregressive", "max_new_tokens": 60},
    {"id": "given", "prompt": "Why?", "plan": [[["a", 6], ["b", 3]]]},
    {"id": "canvas", "prompt": "Why?", "plan": [[["a", ["It is ", {"blank": 3, "exact": True}, "."]]]]},
    {"id": "drawn", "prompt": "What?", "temperature": 0.9, "seed": 5},
    {"id": "as written", "prompt": "What?", "keep_plan": True, "steps_ratio": 0.5},
    {"prompt": "<async>"},
)


@pytest.fixture
def file(tmp_path):
    """file(rows) -> path of a JSONL file."""

    def write(rows, name="in.jsonl"):
        path = tmp_path / name
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return path

    return write


@pytest.fixture
def loaded(checkpoint):
    return answer_module.open_checkpoint(str(checkpoint[1]))


def rows_of(path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def without(row: dict, *names: str) -> dict:
    return {name: value for name, value in row.items() if name not in names}


def without_time(row: dict) -> dict:
    return without(row, "seconds")


def alone(loaded, row: dict) -> dict:
    """What `generate --json` says to a line's request."""
    from planned_diffusion.inference.batch.tasks import read_plan
    from planned_diffusion.inference.decoding_fields import with_sampling

    fields = {name: value for name, value in row.items() if name not in ("id", "prompt", "messages", "plan")}
    plan = read_plan(row["plan"]) if "plan" in row else None
    return answer_module.ask(loaded, row.get("prompt") or row["messages"], with_sampling(fields), plan=plan).as_json()


@pytest.mark.slow
@pytest.mark.parametrize("batch_size", [1, 3, 16])
def test_every_answer_is_that_of_the_request_alone_in_the_order_of_the_input(
    batch_size, run, loaded, checkpoint, file, tmp_path
):
    out = tmp_path / "out.jsonl"
    ran = run("batch", file(LINES), out, "--model", checkpoint[1], "--batch-size", batch_size, "--json")
    assert (ran.status, ran.err) == (0, "")
    assert [row["id"] for row in rows_of(out)] == [line.get("id", number) for number, line in enumerate(LINES, 1)]
    for line, row in zip(LINES, rows_of(out), strict=True):
        assert without_time(row) == {"id": row["id"]} | without_time(alone(loaded, line))
    summary = json.loads(ran.out)
    assert (summary["requests"], summary["answered"]) == (len(LINES), len(LINES))
    assert (summary["failed"], summary["done_before"]) == (0, 0)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.jsonl", "out.jsonl"]


def test_settings_are_for_all_and_a_line_comes_first(run, loaded, checkpoint, file, tmp_path):
    out = tmp_path / "out.jsonl"
    given = [{"prompt": "What?"}, {"prompt": "What?", "max_new_tokens": 20}, {"prompt": "What?", "temperature": 0}]
    options = ["--max-new-tokens", "40", "--temperature", "0.9", "--seed", "2"]
    assert run("batch", file(given), out, "--model", checkpoint[1], *options).status == 0
    common = {"max_new_tokens": 40, "temperature": 0.9, "seed": 2}
    assert [row["text"] for row in rows_of(out)] == [alone(loaded, common | line)["text"] for line in given]
    assert len({row["text"] for row in rows_of(out)}) == 3


def test_compiled(run, loaded, checkpoint, file, tmp_path, monkeypatch):
    """What is compiled is run through `torch.compile`'s wrapper here, uncompiled, and answers alike."""
    ran, compiled_for = [], []

    def compile_(function, **options):
        compiled_for.append((options["mode"], options["options"]))
        return lambda *args, **inputs: ran.append(1) or function(*args, **inputs)

    monkeypatch.setattr(torch, "compile", compile_)
    given, out = [{"prompt": "What?"}, {"prompt": "Why?"}], tmp_path / "out.jsonl"
    options = ["--max-new-tokens", "40", "--compile", "--device", "cpu"]
    assert run("batch", file(given), out, "--model", checkpoint[1], *options).status == 0
    expected = [alone(loaded, row | {"max_new_tokens": 40})["text"] for row in given]
    assert [row["text"] for row in rows_of(out)] == expected
    [(mode, options)] = compiled_for
    assert mode is None and options.items() >= {"freezing": True, "cpp_wrapper": True}.items() and len(ran) > 10


def test_whoever_ends_makes_room_at_once(loaded, file, monkeypatch):
    """With two places, four short requests pass by a long one, and no forward has an empty place while one waits."""
    width = []
    answer = Engine._hand_out
    monkeypatch.setattr(Engine, "_hand_out", lambda *given: (width.append(len(given[1])), answer(*given))[1])
    long, short = ({"prompt": "Why?", "plan": [[["a", length]]], "close_padding": False} for length in (60, 5))
    given = open_tasks(file([long, short, short, short, short]))
    ended = list(outcomes(Batcher(loaded, {}, 2), given))
    assert [outcome.task.index for outcome in ended] == [1, 2, 3, 4, 0]
    forwards = [outcome.answer.trace.forwards for outcome in ended]
    assert width == [2] * sum(forwards[:4]) + [1] * (forwards[4] - sum(forwards[:4]))


def test_a_model_with_a_trained_prompt_is_refused_as_generate_refuses_it(loaded, file, monkeypatch):
    peft = pytest.importorskip("peft")
    sizes = {"num_virtual_tokens": 2, "num_layers": 2, "token_dim": 32, "num_attention_heads": 2}
    tuned = peft.get_peft_model(loaded.model, peft.PromptTuningConfig(task_type="CAUSAL_LM", **sizes))
    name = "prepare_inputs_for_generation"
    monkeypatch.setattr(loaded.model, name, getattr(tuned, name))  # as PEFT does while it generates
    with pytest.raises(ValueError, match="PROMPT_TUNING trains a prompt"):
        answer_module.ask(loaded, "What?", {})
    [outcome] = outcomes(Batcher(loaded, {}, 2), open_tasks(file([{"prompt": "What?"}])))
    assert outcome.answer is None and "PROMPT_TUNING trains a prompt" in outcome.error


def test_tasks_are_read_only_when_there_is_room(loaded, file):
    read = []

    def reading():
        for task in open_tasks(file([{"prompt": "What?", "max_new_tokens": 20 + n} for n in range(6)])):
            read.append(task.index)
            yield task

    for ended, _ in enumerate(outcomes(Batcher(loaded, {}, 2), reading()), start=1):
        assert len(read) <= ended + 2
    assert read == list(range(6))


def test_a_request_that_fails_is_put_aside_and_the_run_goes_on(run, checkpoint, file, tmp_path):
    out = tmp_path / "out.jsonl"
    given = [
        {"id": "long", "prompt": "long " * 200},
        {"prompt": "What?", "max_new_tokens": 20},
        {"id": "unfit", "prompt": "Why?", "plan": [[["a", 400]]]},
        {"id": "useless", "prompt": "Why?", "decoding": "autoregressive", "plan": [[["a", 4]]]},
        {"id": "topic", "prompt": "Why?", "plan": [[[None, 8]]]},
        {"id": "ids", "prompt": "Why?", "plan": [[[["a"], 8]]]},
        {"id": "half", "prompt": "Why?", "plan": [[["\ud800", 8]]]},
    ]
    ran = run("batch", file(given), out, "--model", checkpoint[1])
    assert ran.status == 1 and "6 of 7 requests failed; " in ran.err and ran.err.count("\n") == 1
    assert [row["id"] for row in rows_of(out)] == [2] and "1 answers, " in ran.out
    failed = rows_of(tmp_path / "out.jsonl.failed.jsonl")
    assert [row["id"] for row in failed] == ["long", "unfit", "useless", "topic", "ids", "half"]
    words = ("512 positions", "room for 90", "no use for plan", "topic None is", "topic ['a'] is", "half a character")
    for row, says in zip(failed, words, strict=True):
        assert says in row["error"]
    assert [without(row, "error") for row in failed] == [row for row in given if row.get("id")]


@pytest.mark.parametrize(
    "line",
    [
        {"prompt": "What?", "max_new_tokens": 20},
        {"id": "a", "messages": [{"role": "user", "content": [{"type": "text", "text": "What?"}]}], "seed": 3},
        {"id": "b", "prompt": "What?", "plan": [[["a", 4]]], "temperature": 0.5, "seed": 1},
        {"custom_id": "c", "url": "/v1/completions", "body": {"prompt": "What?", "max_tokens": 20}},
    ],
    ids=["number", "parts", "plan", "openai"],
)
def test_failed_requests_are_an_input_of_the_next_run(line, run, checkpoint, file, tmp_path, monkeypatch):
    """Their requests stand in the file whole, so the next run answers as if they had not failed."""
    source, model = file([{"id": "first", "prompt": "Why?"}, line]), ("--model", checkpoint[1])
    wanted, out, again = (tmp_path / f"{name}.jsonl" for name in ("wanted", "out", "again"))
    assert run("batch", source, wanted, *model).status == 0
    request = answer_module.Checkpoint.request

    def refuse(checkpoint, prompt, *rest):
        if prompt == "Why?":
            return request(checkpoint, prompt, *rest)
        raise RuntimeError("no memory")

    with monkeypatch.context() as patched:
        patched.setattr(answer_module.Checkpoint, "request", refuse)
        ran = run("batch", source, out, *model)
    failed = tmp_path / "out.jsonl.failed.jsonl"
    assert ran.status == 1 and f"1 of 2 requests failed; {failed} says why" in ran.err
    assert rows_of(failed) == [line | {"id": line.get("custom_id", line.get("id", 2)), "error": "no memory"}]
    assert run("batch", failed, again, *model).status == 0
    assert [without_time(row) for row in rows_of(again)] == [without_time(row) for row in rows_of(wanted)[1:]]


def test_a_request_whose_decoder_fails_is_put_aside(loaded, file, monkeypatch):
    """Whatever it is: a request that shares a forward with others does not take them along."""
    planned = DECODERS["planned"]

    def fails_for(request):
        events = planned.run(request)
        yield next(events)
        raise KeyError("a bug")

    monkeypatch.setitem(DECODERS, "autoregressive", replace(planned, run=fails_for))
    given = [{"prompt": "What?"}, {"prompt": "What?", "decoding": "autoregressive"}, {"prompt": "Why?"}]
    found = list(outcomes(Batcher(loaded, {"max_new_tokens": 20}, 3), open_tasks(file(given))))
    assert {one.task.index: one.error for one in found} == {0: None, 1: "'a bug'", 2: None}


def test_a_run_in_which_everything_fails_is_a_failure(run, checkpoint, file, tmp_path):
    ran = run("batch", file([{"prompt": "long " * 200}]), tmp_path / "out.jsonl", "--model", checkpoint[1])
    failed = tmp_path / "out.jsonl.failed.jsonl"
    assert ran.status == 1 and "None of the 1 requests could be answered" in ran.err and str(failed) in ran.err
    assert rows_of(failed)[0]["prompt"] == "long " * 200


def test_nan_harms_only_the_request_that_has_it(loaded, file):
    """The embedding of one letter is NaN, so only a prompt with that letter has no answer."""
    given = [{"prompt": prompt, "max_new_tokens": 30} for prompt in ("What?", "Z", "Why?", "What?", "Who?")]
    wanted = [alone(loaded, line)["text"] for line in given]
    letter = loaded.tokenizer.encode("Z")[0]
    weight = loaded.model.get_input_embeddings().weight
    assert loaded.model.get_output_embeddings().weight is not weight
    with torch.no_grad():
        weight[letter] = float("nan")
    tasks = open_tasks(file(given))
    ended = {outcome.task.index: outcome for outcome in outcomes(Batcher(loaded, {}, 3), tasks)}
    assert sorted(ended) == [0, 1, 2, 3, 4] and "logits are NaN" in ended[1].error
    for index in (0, 2, 3, 4):
        assert "Z" not in wanted[index] and ended[index].answer.text == wanted[index]


def lines_in(path) -> int:
    return path.read_bytes().count(b"\n") if path.exists() else 0


@pytest.mark.slow
def test_kill_9_in_the_middle_loses_only_what_was_under_way(checkpoint, file, run, start_command, tmp_path):
    given = [{"id": f"r{number}", "prompt": "What?", "max_new_tokens": 20 + number} for number in range(40)]
    source, out, partial = file(given), tmp_path / "out.jsonl", tmp_path / "out.jsonl.partial"
    options = ["--model", str(checkpoint[1]), "--batch-size", "2", "--json"]
    process, _ = start_command("batch", source, out, *options)
    deadline = time.monotonic() + 120
    while lines_in(partial) < 1 + 5:
        assert process.is_alive() and time.monotonic() < deadline
        time.sleep(0.01)
    process.kill()
    process.join()
    assert process.exitcode == -signal.SIGKILL and not out.exists()
    before = lines_in(partial) - 1
    with partial.open("ab") as torn:
        torn.write(b'{"index": 39, "hash": "')  # as if it had been killed while it wrote
    assert json.loads(run("batch", source, out, *options).out)["done_before"] == before < 40
    assert [row["id"] for row in rows_of(out)] == [line["id"] for line in given]
    whole = tmp_path / "whole.jsonl"
    assert run("batch", source, whole, *options).status == 0
    assert [without_time(row) for row in rows_of(out)] == [without_time(row) for row in rows_of(whole)]


@pytest.fixture
def stopped(checkpoint, file, tmp_path):
    """(job, seen) of a run that was stopped after three of five answers; `seen` lists what is answered from then on."""
    given = [{"prompt": "What?", "max_new_tokens": 20 + number} for number in range(5)]
    job = BatchJob(file(given), tmp_path / "out.jsonl", str(checkpoint[1]), {"steps_ratio": 0.5}, batch_size=1)

    def stop(finished, total):
        if finished == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        answer_file(job, stop)
    return job


def test_what_is_done_is_never_done_again(stopped, monkeypatch):
    added, shown, add = [], [], Batcher.add
    monkeypatch.setattr(Batcher, "add", lambda batcher, task: (added.append(task.index), add(batcher, task)))
    summary = answer_file(stopped, lambda finished, total: shown.append((finished, total)))
    assert added == [3, 4] and shown == [(3, 5), (4, 5), (5, 5)]
    assert summary["done_before"] == 3 and [row["id"] for row in rows_of(stopped.out)] == [1, 2, 3, 4, 5]


def test_a_run_stopped_after_its_last_answer_loads_no_model(stopped, monkeypatch):
    def stop(finished, total):
        if finished == total:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        answer_file(stopped, stop)
    monkeypatch.setattr(run_module, "open_checkpoint", None)
    assert answer_file(stopped)["done_before"] == 5 and len(rows_of(stopped.out)) == 5


@pytest.mark.parametrize(
    ("change", "names"),
    [
        (lambda job: {"fields": {"steps_ratio": 0.4}}, "steps_ratio"),
        (lambda job: {"fields": {}}, "steps_ratio"),
        (lambda job: {"dtype": "bfloat16"}, "dtype"),
        (lambda job: job.source.write_text(job.source.read_text().replace("24", "25")) and {}, "input"),
        (lambda job: job.source.write_text(job.source.read_text() + '{"prompt": "More?"}\n') and {}, "input"),
        (lambda job: {"model": "owner/other"}, "checkpoint, model"),
    ],
)
def test_a_changed_input_or_setting_is_refused(stopped, change, names):
    job = replace(stopped, **(change(stopped)))
    with pytest.raises(ValueError, match=rf"other settings \(changed: {names}\); finish it with those, or delete it"):
        answer_file(job)
    assert not job.out.exists()


def test_a_checkpoint_that_was_trained_on_is_another(stopped, checkpoint, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(stopped.model, folder)
    before = job_module.hash_of(str(folder))
    assert before == job_module.hash_of(str(folder))
    os.utime(folder / "model.safetensors", (1, 1))
    assert job_module.hash_of(str(folder)) != before


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--batch-size", "0"], "batch_size is 0; give 1 or more"),
        (["--workers", "0"], "workers is 0; give 1 or more"),
        (["--steps-ratio", "0"], "steps_ratio is 0.0; give a number above 0"),
        (["--decoding", "autoregressive", "--steps-ratio", "0.5"], "has no use for steps_ratio"),
    ],
)
def test_bad_use_is_one_line(arguments, says, run, checkpoint, file, tmp_path):
    ran = run("batch", file([{"prompt": "What?"}]), tmp_path / "out.jsonl", "--model", checkpoint[1], *arguments)
    assert ran.status == 2 and says in ran.err and ran.err.count("\n") == 1 and not (tmp_path / "out.jsonl").exists()


def test_a_command_that_was_mended_is_not_held_to_the_first(run, checkpoint, file, tmp_path):
    command = ["batch", file([{"prompt": "What?"}]), tmp_path / "out.jsonl", "--model", checkpoint[1]]
    assert run(*command, "--decoding", "autoregressive", "--steps-ratio", "0.5").status == 2
    assert run(*command, "--decoding", "autoregressive").status == 0


def test_a_place_that_cannot_be_written_is_refused(run, checkpoint, file, tmp_path):
    source = file([{"prompt": "What?"}])
    for out, says in ((source, "is there already"), (source / "out.jsonl", "No file can be written into")):
        ran = run("batch", source, out, "--model", checkpoint[1])
        assert ran.status == 2 and says in ran.err and ran.err.count("\n") == 1


def test_a_full_disk_at_the_end_loses_nothing(stopped, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "replace", full)
        with pytest.raises(RuntimeError, match="Cannot continue writing .*No space left"):
            answer_file(stopped)
    assert sorted(path.name for path in stopped.out.parent.glob("out*")) == ["out.jsonl.partial"]
    assert answer_file(stopped)["done_before"] == 5 and len(rows_of(stopped.out)) == 5
