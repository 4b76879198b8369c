"""The script from its command line: on the included model, which answers questions about countries in English."""

import gzip
import json
import re
import shutil
from pathlib import Path

import pytest

from planned_diffusion.annotation.pipeline import AnnotationJob
from planned_diffusion.distillation import __main__ as script
from planned_diffusion.distillation import distill as stages
from planned_diffusion.distillation.answer_requests import SAMPLING
from planned_diffusion.facts.generator import held_out_questions
from planned_diffusion.inference.batch import run as batch
from planned_diffusion.records.tagged import parse_tagged, plain_text
from planned_diffusion.training.dataset import read_records

FACTS = Path(__file__).parents[2] / "checkpoints" / "facts"
PROMPTS, NEW_TOKENS = 5, 60
RESULTS = ("prompts.jsonl", "requests.jsonl", "kept.jsonl", "dropped.jsonl", "contrary.jsonl", "records.jsonl.gz")


@pytest.fixture(autouse=True)
def loud_again():
    """The command line silences transformers; other tests want it as it was."""
    from transformers.utils import logging

    verbosity = logging.get_verbosity()
    yield
    logging.set_verbosity(verbosity)
    logging.enable_progress_bar()


@pytest.fixture(scope="module")
def questions(tmp_path_factory):
    path = tmp_path_factory.mktemp("questions") / "in.jsonl"
    asked = held_out_questions(PROMPTS, seed=1)
    parts = (None, False) * PROMPTS  # by turns
    rows = [{"prompt": one.prompt, "kind": one.kind, "parts": each} for one, each in zip(asked, parts, strict=False)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture
def run(capsys, questions):
    """run(OUT, option, ...) -> exit status, standard output, standard error."""

    def run(out, *options):
        given = ["--model", FACTS, "--prompts", questions, "--max-new-tokens", NEW_TOKENS, *options]
        status = script.main([str(one) for one in (out, *given)])
        return status, *capsys.readouterr()

    return run


@pytest.fixture(scope="module")
def finished(questions, tmp_path_factory):
    """The folder of a whole run."""
    out = tmp_path_factory.mktemp("finished") / "out"
    options = ["--model", FACTS, "--prompts", questions, "--max-new-tokens", NEW_TOKENS]
    assert script.main([str(one) for one in (out, *options)]) == 0
    return out


def test_records_are_what_training_reads_and_the_report_counts_them(finished):
    report = json.loads((finished / "report.json").read_text())
    records = read_records(finished / "records.jsonl.gz")
    dropped = sum(report["dropped"].values())
    assert report["prompts"] == PROMPTS == report["failed"] + dropped + report["kept"]
    contrary = len((finished / "contrary.jsonl").read_text().splitlines())
    assert len(records) == report["records"] == report["kept"] - contrary > 1
    assert contrary == sum(report["contrary"].values())
    assert sum(kind["records"] for kind in report["kinds"].values()) == len(records)
    assert report["stamp"]["model"] == str(FACTS) and len(report["stamp"]["weights_sha256"]) == 64
    kept = {row["id"]: row for row in map(json.loads, (finished / "kept.jsonl").read_text().splitlines())}
    for record in records:
        asked, answer = record["messages"]
        assert asked["content"] == kept[record["id"]]["prompt"]
        assert plain_text(answer["content"]) == kept[record["id"]]["response"]
        assert bool(parse_tagged(answer["content"])) == (record["annotation"] != "plain")


def test_a_run_stopped_anywhere_goes_on_to_the_same_files(finished, run, tmp_path, monkeypatch):
    """Stopped after two answers, before the filter, while annotating and before the report."""
    out, answered = tmp_path / "out", []

    class StoppedError(Exception):
        pass

    def stop(*given, **named):
        raise StoppedError

    def two_only(tasks_file, *given, original=batch._entries):
        for entry in original(tasks_file, *given):
            if len(answered) == 2:
                raise StoppedError
            answered.append(entry["index"])
            yield entry

    for place, name, change in (
        (batch, "_entries", two_only),
        (stages, "write_kept", stop),
        (stages, "annotate_file", stop),
        (stages, "write_report", stop),
    ):
        with monkeypatch.context() as changed:
            changed.setattr(place, name, change)
            assert run(out)[0] == 1
    assert len(answered) == 2
    assert run(out)[0] == 0
    for name in RESULTS:
        assert (out / name).read_bytes() == (finished / name).read_bytes(), name


def test_a_finished_folder_is_only_counted_again(finished, run, tmp_path, monkeypatch):
    out = shutil.copytree(finished, tmp_path / "out")
    for name in ("answer_file", "annotate_file", "write_kept", "write_prompts"):
        monkeypatch.delattr(stages, name)
    status, printed, _ = run(out, "--batch-size", 2)
    assert status == 0 and '"prompts": 5' in printed


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["--seed", 7], r"was begun with other settings \(changed: seed\); finish it with those, or name another"),
        (["--max-new-tokens", 9, "--annotate", "unit=4"], r"\(changed: annotation, max_new_tokens\)"),
    ],
)
def test_other_settings_in_a_folder_that_was_begun(options, complaint, finished, run):
    status, _, told = run(finished, *options)
    assert status == 2 and re.search(complaint, told) and told.count("\n") == 1


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["--count", 0], "count is 0; give 1 or more"),
        (["--model", "absent/"], "absent"),
        (["--prompts", "absent.jsonl"], "There is no file absent.jsonl"),
        (["--prompts", "empty.jsonl"], "empty.jsonl holds no prompts"),
        (["--pool", "absent.jsonl"], "There is no file absent.jsonl"),
        (["--annotate", "colour=4"], "--annotate colour=4 is no option of the annotator; choose among unit"),
        (["--annotate", "unit=four"], "--annotate unit=four: 'four' is no number; give one"),
        (["--annotate", "unit=0"], "unit is 0; give 1 or more"),
        (["--max-new-tokens", 3], "Every answer broke a rule"),
    ],
)
def test_bad_use_is_one_sentence(options, complaint, run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("empty.jsonl").write_text("\n")
    status, _, told = run(tmp_path / "out", *options)
    assert status == 2 and complaint in told and told.count("\n") == 1


def test_a_full_disk_keeps_what_is_finished(finished, run, tmp_path, monkeypatch):
    out = shutil.copytree(finished, tmp_path / "out")
    (out / "records.jsonl.gz").unlink()

    def full(self, data):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as changed:
        changed.setattr(gzip.GzipFile, "write", full)
        status, _, told = run(out)
    assert status == 1 and "records.jsonl.gz (No space left on device)" in told and told.count("\n") == 1
    assert not list(out.glob("*.new")) and run(out)[0] == 0
    assert (out / "records.jsonl.gz").read_bytes() == (finished / "records.jsonl.gz").read_bytes()


def test_a_file_in_the_way_of_the_folder(run, questions):
    status, _, told = run(questions)
    assert status == 2 and "name another folder" in told
    with pytest.raises(ValueError, match="cannot be a folder .*; name another"):
        stages.Folder(script.DistillationJob(questions, str(FACTS), "facts", count=1))


def test_options_reach_the_annotator(questions, tmp_path):
    job = script.job_of(
        script.parser().parse_args([str(tmp_path / "out"), "--model", str(FACTS), "--annotate", "most-spans=5"])
    )
    assert stages.annotation_job(job).most_spans == 5
    assert set(script.annotation_options()) < {*AnnotationJob.__dataclass_fields__}


def test_parts_are_asked_one_by_one_and_more_prompts_change_no_request(tmp_path):
    asked = {}
    for count in (60, 90):
        args = [str(tmp_path / str(count)), "--model", str(FACTS), "--count", str(count)]
        job = script.job_of(script.parser().parse_args(args))
        folder = stages.Folder(job)
        stages.write_prompts(job, folder)
        asked[count] = list(stages.rows_of(folder.prompts)), list(stages.rows_of(folder.requests))
    prompts, requests = asked[60]
    assert requests == asked[90][1][: len(requests)] and prompts == asked[90][0][:60]
    expected = [
        (name, text)
        for row in prompts
        for name, text in [(f"{row['id']}/{n}", part["prompt"]) for n, part in enumerate(row["sub_prompts"], 1)]
        or [(row["id"], row["prompt"])]
    ]
    assert [(request["id"], request["prompt"]) for request in requests] == expected
    assert {request["temperature"] for request in requests} == set(SAMPLING)


QUESTIONS = {
    "France": "What is the capital of France?",
    "Japan": "What is the currency of Japan?",
    "Peru": "What language is spoken in Peru?",
}


@pytest.fixture
def parted(tmp_path):
    """A file of two prompts: one of three parts about countries, which the included model knows, and a whole one."""
    parts = [
        {"topic": name, "label": name, "prompt": question, "sentences": 1, "subject": ""}
        for name, question in QUESTIONS.items()
    ]
    rows = [
        {"prompt": "Say something about each country.", "kind": "each", "parts": True, "sub_prompts": parts},
        {"prompt": "What is the capital of Italy?", "kind": "fact", "parts": False},
    ]
    path = tmp_path / "parted.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_an_answer_of_parts_is_one_round_of_their_topics(parted, run, tmp_path):
    out = tmp_path / "out"
    assert run(out, "--prompts", parted, "--annotate", "min-gain=1", "--annotate", "unit=1")[0] == 0
    by_made = {record["made"]: record for record in read_records(out / "records.jsonl.gz")}
    (spans,) = parse_tagged(by_made["parts"]["messages"][-1]["content"])
    answers = stages.rows_of(out / "answers.jsonl")
    texts = [answer["text"].strip() for answer in answers if "/" in answer["id"]]
    assert [span.topic for span in spans] == list(QUESTIONS)
    assert all(text in span.text for text, span in zip(texts, spans, strict=True))
    assert by_made["parts"]["annotation"] == "parallel" and "spans" not in by_made["parts"]
    assert by_made["whole"]["annotation"] == "plain"


def test_a_plan_that_gains_too_little_is_not_written(parted, run, tmp_path):
    assert run(tmp_path / "out", "--prompts", parted, "--annotate", "min-gain=0.1")[0] == 0
    records = read_records(tmp_path / "out" / "records.jsonl.gz")
    assert {record["annotation"] for record in records} == {"plain"}
    [contrary] = stages.rows_of(tmp_path / "out" / "contrary.jsonl")
    assert (contrary["kind"], contrary["annotation"]) == ("each", "plain"), "parts were asked for"


@pytest.mark.parametrize(
    ("parts", "annotation", "is_kept"),
    [
        (True, "parallel", True), (True, "steps", True), (True, "plain", False),
        (False, "parallel", False), (False, "steps", False), (False, "plain", True),
        (None, "parallel", True), (None, "steps", True), (None, "plain", True),
    ],
)  # fmt: skip
def test_records_are_kept_that_are_as_their_prompt_asks(parts, annotation, is_kept):
    assert stages.is_as_asked({"parts": parts, "annotation": annotation}) == is_kept


@pytest.mark.parametrize("stopped_after", [2, None])
def test_a_run_goes_on_after_more_prompts_were_asked_for(stopped_after, tmp_path, monkeypatch, capsys):
    """The answers of the smaller run are kept, whether it was stopped or had finished; fewer prompts are refused."""

    class StoppedError(Exception):
        pass

    def few(tasks_file, *given, original=batch._entries):
        for number, entry in enumerate(original(tasks_file, *given)):
            if number == stopped_after:
                raise StoppedError
            asked.append(entry.get("answered", entry.get("failed"))["id"])
            yield entry

    def started(out, count):
        options = ["--model", FACTS, "--count", count, "--max-new-tokens", 20]
        return script.main([str(one) for one in (out, *options)])

    asked: list[str] = []
    monkeypatch.setattr(stages, "without_duplicates", lambda checked: [None for _ in checked])
    monkeypatch.setattr(batch, "_entries", few)
    assert started(tmp_path / "out", 3) == (0 if stopped_after is None else 1)
    first = set(asked)
    assert len(first) == (stopped_after or len(first)) > 1
    stopped_after = None
    assert started(tmp_path / "out", 5) == 0
    assert len(asked) == len(set(asked))  # nothing was answered twice
    assert started(tmp_path / "whole", 5) == 0
    for name in ("prompts.jsonl", "kept.jsonl", "records.jsonl.gz"):
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name
    capsys.readouterr()
    assert started(tmp_path / "out", 4) == 2 and "(changed: count)" in capsys.readouterr().err
