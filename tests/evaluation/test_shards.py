"""Runs that are shared out: shards and the run that gathers them equal the run of one process, record by record."""

import json
import os
import subprocess
import sys
from dataclasses import replace

import pytest

from planned_diffusion.cli import sharing
from planned_diffusion.cli.main import main
from planned_diffusion.cli.sharing import without_processes
from planned_diffusion.evaluation import likelihood_task, standard_tasks, text_contest, text_settings
from planned_diffusion.evaluation.alpaca_eval_task import JudgedOutputs, evaluate_alpaca_eval
from planned_diffusion.evaluation.likelihood_task import LikelihoodEvaluation, evaluate_likelihood
from planned_diffusion.evaluation.shards import Shard, files_of_shards
from planned_diffusion.evaluation.standard_tasks import evaluate_standard
from planned_diffusion.evaluation.text_contest import batches_of
from planned_diffusion.evaluation.text_prompts import TextPrompt
from planned_diffusion.evaluation.text_settings import TextEvaluation
from planned_diffusion.evaluation.variants import VARIANTS
from planned_diffusion.loading.embedded import EMBEDDED

FACTS = str(EMBEDDED)
PLANNED, PLAIN = "planned, threshold 0.9, lookahead 3", "autoregressive"
COUNTRIES = ("Kenya", "Chad", "Peru", "Japan", "Norway")
SHARES = Shard(1, 2), Shard(2, 2)


@pytest.fixture(autouse=True)
def one_checkpoint(monkeypatch, facts_checkpoint):
    for module in (standard_tasks, likelihood_task):
        monkeypatch.setattr(module, "open_checkpoint", lambda name: facts_checkpoint)
    monkeypatch.setattr(text_settings, "TEXT_SYSTEMS", {name: VARIANTS[name] for name in (PLANNED, PLAIN)})


@pytest.fixture
def rows(tmp_path):
    path = tmp_path / "rows.jsonl"
    given = [{"question": f"What is the capital of {name}?", "answer": "It has one.\n#### 1"} for name in COUNTRIES]
    path.write_text("".join(json.dumps(row) + "\n" for row in given), encoding="utf-8")
    return path


def timeless(answers):
    return [replace(one, seconds=0) for one in answers]


@pytest.mark.parametrize(("sizes", "alone"), [((2,), 100), ((3, 1), 2), ((1,), 100)])
@pytest.mark.parametrize("count", [1, 2, 3, 9])
def test_every_batch_belongs_to_one_share(sizes, alone, count):
    prompts = [TextPrompt(line, "Why?") for line in range(7)]
    shares = [batches_of(prompts, sizes, alone, Shard(number, count)) for number in range(1, count + 1)]
    together = [batch for share in shares for batch in share]
    whole = batches_of(prompts, sizes, alone)
    assert len(together) == len(whole) and all(batch in together for batch in whole)
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_shares_and_their_gathering_equal_one_process(rows, tmp_path, monkeypatch, capsys):
    evaluation, keep = (
        TextEvaluation(FACTS, rows, batch_size=2, max_new_tokens=40, as_json=True),
        tmp_path / "kept.jsonl",
    )
    whole = evaluate_standard("gsm8k", evaluation)
    capsys.readouterr()
    for shard in SHARES:
        evaluate_standard("gsm8k", replace(evaluation, shard=shard), keep)
        assert json.loads(capsys.readouterr().out)["stamp"]["shard"] == str(shard)
    files = files_of_shards(keep)
    assert [file.name for file in files] == ["kept.1-of-2.jsonl", "kept.2-of-2.jsonl"]
    files[0].write_bytes(files[0].read_bytes() + b'{"index": 9, "ha')  # still being written
    with monkeypatch.context() as patched:
        patched.setattr(text_contest, "answer_batch", lambda *given: pytest.fail("was answered by a share"))
        gathered = evaluate_standard("gsm8k", evaluation, keep)
    told = json.loads(capsys.readouterr().out)
    assert timeless(gathered) == timeless(whole) and "shard" not in told["stamp"]
    kept = [json.loads(line)["answer"] for line in keep.read_text(encoding="utf-8").splitlines()[1:]]
    assert {(one["system"], one["asked"]["line"]) for one in kept} == {(one.system, one.asked.line) for one in whole}
    assert len(kept) == len(whole) == 10
    assert timeless(evaluate_standard("gsm8k", evaluation, keep)) == timeless(whole)  # nothing is gathered twice
    assert len(keep.read_text(encoding="utf-8").splitlines()) == 11


def test_what_no_share_has_done_is_done_by_the_last_run(rows, tmp_path, monkeypatch):
    evaluation, keep, made = TextEvaluation(FACTS, rows, batch_size=2, max_new_tokens=20), tmp_path / "kept.jsonl", []
    answer = text_contest.answer_batch
    evaluate_standard("gsm8k", replace(evaluation, shard=Shard(2, 2)), keep)
    monkeypatch.setattr(text_contest, "answer_batch", lambda *given: made.append(given[1][0].line) or answer(*given))
    evaluate_standard("gsm8k", evaluation, keep)
    assert made == [1, 1, 5, 5]  # batches of lines 1 and 2, and of line 5, by two systems


def test_a_share_of_another_run_is_refused(rows, tmp_path):
    evaluation, keep = TextEvaluation(FACTS, rows, batch_size=2, max_new_tokens=20), tmp_path / "kept.jsonl"
    evaluate_standard("gsm8k", replace(evaluation, shard=Shard(1, 2)), keep)
    rows.write_text(json.dumps({"question": "Why?", "answer": "#### 2"}) + "\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"kept.1-of-2.jsonl was begun by another run than .*kept.jsonl; delete it"):
        evaluate_standard("gsm8k", evaluation, keep)


def test_likelihoods_are_shared_out_too(tmp_path):
    path, keep = tmp_path / "answers.jsonl", tmp_path / "kept.jsonl"
    given = [{"prompt": f"What is the capital of {name}?", "answer": "It is Nairobi."} for name in COUNTRIES]
    path.write_text("".join(json.dumps(row) + "\n" for row in given), encoding="utf-8")
    evaluation = LikelihoodEvaluation(FACTS, path)
    whole = evaluate_likelihood(evaluation)
    first, second = [evaluate_likelihood(replace(evaluation, shard=shard), keep) for shard in SHARES]
    assert [one.line for one in first] == [1, 3, 5] and [one.line for one in second] == [2, 4]
    assert evaluate_likelihood(evaluation, keep) == whole


def test_a_share_writes_no_file_for_the_judge(tmp_path):
    path, out = tmp_path / "rows.jsonl", tmp_path / "out"
    path.write_text(json.dumps({"instruction": "Name a country."}) + "\n", encoding="utf-8")
    evaluation = TextEvaluation(FACTS, path, max_new_tokens=20, shard=Shard(1, 2))
    assert evaluate_alpaca_eval(evaluation, JudgedOutputs(out), tmp_path / "kept.jsonl") == {} and not out.exists()


@pytest.mark.parametrize(
    ("given", "said"),
    [("2", "The shard is '2'; give a number and how many"), ("0/2", "The shard is 0/2"), ("3/2", "from 1 to")],
)
def test_bad_shards(given, said):
    with pytest.raises(ValueError, match=said):
        Shard.read(given)
    assert Shard.read("2/3") == Shard(2, 3)


def test_a_share_needs_a_file(rows):
    with pytest.raises(ValueError, match="Shard 1/2 has no file for its results; give --keep"):
        evaluate_standard("gsm8k", TextEvaluation(FACTS, rows, shard=Shard(1, 2)))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--processes", "2"], "--processes needs a place for the results of each process; give --keep as well."),
        (["--shard", "1/2"], "--shard needs a place"),
        (["--keep", "KEEP", "--shard", "1/2", "--processes", "2"], "give one of the two."),
        (["--keep", "KEEP", "--processes", "0"], "processes is 0; give 1 or more."),
        (["--keep", "KEEP", "--shard", "half"], "The shard is 'half'"),
        (["--task", "facts", "--shard", "1/2"], "--task facts runs in one process"),
    ],
)
def test_bad_options(rows, tmp_path, capsys, options, said):
    options = [str(tmp_path / "kept.jsonl") if one == "KEEP" else one for one in options]
    prompts = [] if "facts" in options else ["--task", "gsm8k", "--prompts", str(rows)]
    assert main(["evaluate", *prompts, *options]) == 2
    assert said in capsys.readouterr().err


def test_the_command_of_a_share():
    given = ["evaluate", "--processes", "2", "--keep", "a", "--processes=3", "--count", "2"]
    assert without_processes(given) == ["evaluate", "--keep", "a", "--count", "2"]


def test_processes_are_shares_that_divide_the_threads(rows, tmp_path, monkeypatch, capsys):
    started, threads = [], []

    class Ended:
        def __init__(self, command, stdout, env):
            started.append((command, env["OMP_NUM_THREADS"], env.get("CUDA_VISIBLE_DEVICES")))

        def wait(self):
            return len(started) > 2  # the second run fails

        def terminate(self): ...

    monkeypatch.setattr(sharing, "Popen", Ended)
    monkeypatch.setattr("torch.get_num_threads", lambda: 5)
    monkeypatch.setattr("torch.set_num_threads", threads.append)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    command = ["evaluate", "--task", "gsm8k", "--prompts", str(rows), "--keep", str(tmp_path / "kept.jsonl"),
               "--max-new-tokens", "8", "--processes", "2"]  # fmt: skip
    assert main(command) == 0
    assert [(line[1:3], line[-2:], *rest) for line, *rest in started] == [
        (["-m", "planned_diffusion"], ["--shard", "1/2"], "2", "0"),
        (["-m", "planned_diffusion"], ["--shard", "2/2"], "2", "1"),
    ]
    assert "--processes" not in started[0][0] and threads == [2]
    capsys.readouterr()
    assert main(command) == 1
    assert "Process 1 of 2 has failed, see above; the same command goes on." in capsys.readouterr().err


@pytest.mark.slow
def test_two_processes_equal_one(rows, tmp_path, monkeypatch):
    """The commands as a user gives them; the answers of two processes are those of one."""
    monkeypatch.setitem(os.environ, "OMP_NUM_THREADS", "1")
    command = [sys.executable, "-m", "planned_diffusion", "evaluate", "--task", "gsm8k", "--prompts", str(rows),
               "--max-new-tokens", "40",
               "--decoding", "autoregressive", "--batch-size", "2"]  # fmt: skip
    kept = [tmp_path / "one.jsonl", tmp_path / "two.jsonl"]
    for keep, more in zip(kept, ([], ["--processes", "2"]), strict=True):
        subprocess.run([*command, "--keep", str(keep), *more], check=True, capture_output=True)
    assert len(files_of_shards(kept[1])) == 2
    one, two = (
        sorted(
            (
                {**json.loads(line)["answer"], "seconds": 0}
                for line in keep.read_text(encoding="utf-8").splitlines()[1:]
            ),
            key=lambda answer: (answer["system"], answer["asked"]["line"]),
        )
        for keep in kept
    )
    assert one == two and len(one) == 5
