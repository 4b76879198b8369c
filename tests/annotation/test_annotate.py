"""From a file of rows to the finished files: what is kept, refused, reported; stopped runs end like whole ones."""

import json
from dataclasses import replace

import pytest

from planned_diffusion.annotation import pipeline as module
from planned_diffusion.annotation.pipeline import AnnotationJob, annotate_file
from planned_diffusion.records.journal import Journal
from planned_diffusion.records.output import beside
from planned_diffusion.records.tagged import parse_tagged, plain_text
from planned_diffusion.training.dataset import encode_records, read_records


def read(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def result(out):
    """The bytes of every finished file, by the end of its name."""
    endings = ("", ".refused.jsonl", ".report.json")
    return {ending: beside(out, ending).read_bytes() for ending in endings if beside(out, ending).exists()}


@pytest.fixture
def job(jsonl, rows, tmp_path, facts):
    return AnnotationJob(str(jsonl(rows(6))), tmp_path / "out.jsonl", facts)


def test_records_are_tagged_and_keep_their_other_fields(job, tips, tokenizer, facts):
    from transformers import AutoConfig

    from planned_diffusion.generation.tokens import ControlTokens

    report = annotate_file(job)
    records = read_records(job.out)
    assert [record["id"] for record in records] == list(range(6))
    assert all(record["annotation"] == "parallel" for record in records)
    for record in records:
        assert [turn["role"] for turn in record["messages"]] == ["user", "assistant"]
        assert plain_text(record["messages"][1]["content"]) == tips
        assert [len(spans) for spans in parse_tagged(record["messages"][1]["content"])] == [4, 1]
    examples = encode_records(records, tokenizer, ControlTokens.from_config(AutoConfig.from_pretrained(facts)))
    assert all(example.is_tagged for example in examples)  # what annotate writes, train reads
    assert report["records"] == report["written"] == 6 and report["share_with_parallel_spans"] == 1.0
    assert report["spans_per_answer"] == {5: 6} and report["rounds_per_answer"] == {2: 6}
    assert json.loads(beside(job.out, ".report.json").read_text())["kinds"] == {"parallel": 6}
    assert not beside(job.out, ".partial").exists() and not beside(job.out, ".refused.jsonl").exists()


def test_the_critical_path_is_plan_terminator_and_longest_span_of_each_round(job, counter):
    report = annotate_file(replace(job, limit=1))
    rounds = parse_tagged(read(job.out)[0]["messages"][1]["content"])
    plan = sum(2 + counter.count([f"{span.topic} "])[0] + len(str(span.number)) for spans in rounds for span in spans)
    lengths = [counter.count([span.text for span in spans]) for spans in rounds]
    assert report["mean_plan_tokens"] == plan + len(rounds)
    assert report["mean_critical_path"] == plan + len(rounds) + sum(map(max, lengths))
    assert report["mean_sequential"] == sum(map(sum, lengths)) + 1


def test_refused_records_lie_beside_with_the_reason(jsonl, rows, job):
    bad = [
        {"prompt": "Tag?", "response": "Write <async> and </async>.", "id": "tag"},
        {"prompt": "Empty?", "response": " \n", "id": "empty"},
        {"prompt": "Null?", "response": None, "id": "null"},
        {"prompt": "Half?", "response": "\ud800", "id": "half"},
    ]
    good = rows(2)
    job = replace(job, source=str(jsonl([good[0], *bad, good[1]], "mixed.jsonl")))
    report = annotate_file(job)
    assert [record["id"] for record in read(job.out)] == [0, 1]
    refused = read(beside(job.out, ".refused.jsonl"))
    assert [(one["index"], one["record"]["id"]) for one in refused] == [
        (1, "tag"),
        (2, "empty"),
        (3, "null"),
        (4, "half"),
    ]
    assert [one["record"]["response"] for one in refused] == [row["response"] for row in bad]
    reasons = [one["reason"] for one in refused]
    assert "spells the tag <async>" in reasons[0] and "is empty" in reasons[1]
    assert "not a text" in reasons[2] and "surrogate" in reasons[3]
    assert sum(report["refused"].values()) == 4 and report["records"] == 6 and report["written"] == 2


def test_earlier_answers_with_tags_are_refused_and_user_text_with_tags_is_kept(jsonl, job, tips):
    def chat(*contents):
        return {
            "messages": [{"role": r, "content": c} for r, c in zip(("user", "assistant") * 2, contents, strict=False)]
        }

    source = jsonl([chat("a", "<sync/>", "b", tips), chat("What is <sync/>?", tips)], "chats.jsonl")
    annotate_file(replace(job, source=str(source)))
    assert [record["messages"][0]["content"] for record in read(job.out)] == ["What is <sync/>?"]


@pytest.mark.parametrize(("plain", "written"), [("keep", 3), ("drop", 2)])
def test_plain_answers_are_kept_or_dropped(plain, written, jsonl, rows, job):
    source = jsonl([*rows(2), {"prompt": "Why?", "response": "Because.", "id": 2}], "plain.jsonl")
    report = annotate_file(replace(job, source=str(source), plain=plain))
    records = read(job.out)
    assert len(records) == report["written"] == written and report["records"] == 3
    if plain == "keep":
        assert records[2]["messages"][1]["content"] == "Because." and records[2]["annotation"] == "plain"


def test_numbers_follow_the_unit(job, counter):
    annotate_file(replace(job, unit=1, limit=1))
    for spans in parse_tagged(read(job.out)[0]["messages"][1]["content"]):
        assert [span.number for span in spans] == counter.count([span.text for span in spans])


@pytest.mark.parametrize("cut", [0, 10, 700, 2500])
def test_a_run_that_was_stopped_ends_like_a_whole_one(cut, job, tmp_path, monkeypatch):
    """The unfinished file cut anywhere: in its first line, in a record, between records."""
    monkeypatch.setattr(module, "CHUNK", 2)
    annotate_file(job)
    whole = result(job.out)
    stopped = replace(job, out=tmp_path / "stopped.jsonl")
    written = _unfinished(stopped, monkeypatch)
    beside(stopped.out, ".partial").write_bytes(written[:cut] if cut else written)
    shown = []
    annotate_file(stopped, show=lambda finished, total: shown.append((finished, total)))
    assert result(stopped.out) == whole
    assert sum(finished for finished, _ in shown) == 6 and {total for _, total in shown} == {6}


def _unfinished(job, monkeypatch) -> bytes:
    """What a run leaves behind that stops after its second chunk."""
    original, calls = Journal.append, []

    def append(self, *entries):
        calls.append(1)
        if len(calls) > 3:  # the header, and two chunks
            raise KeyboardInterrupt
        original(self, *entries)

    with monkeypatch.context() as patched:
        patched.setattr(Journal, "append", append)
        with pytest.raises(KeyboardInterrupt):
            annotate_file(job)
    assert not job.out.exists()
    return beside(job.out, ".partial").read_bytes()


def test_a_larger_limit_goes_on_with_the_same_file(job, monkeypatch):
    monkeypatch.setattr(module, "CHUNK", 1)
    _unfinished(replace(job, limit=3), monkeypatch)
    assert annotate_file(job)["records"] == 6


def test_a_smaller_limit_does_not_throw_finished_records_away(job, monkeypatch):
    monkeypatch.setattr(module, "CHUNK", 2)
    before = _unfinished(job, monkeypatch)
    with pytest.raises(ValueError, match="limit is 3, and .* up to number 4; give a limit of 4 or more, or none"):
        annotate_file(replace(job, limit=3))
    assert beside(job.out, ".partial").read_bytes() == before and not job.out.exists()
    assert annotate_file(replace(job, limit=4))["records"] == 4


def test_finished_records_that_moved_are_not_planned_again(job, jsonl, rows, monkeypatch):
    """Three rows before the others, one of them equal to a finished one; a refused record tells its new place."""
    source = [rows(1)[0], {"prompt": "Empty?", "response": "", "id": 7}, *rows(6)[1:]]
    jsonl(source)
    monkeypatch.setattr(module, "CHUNK", 2)
    _unfinished(job, monkeypatch)
    new = [{**rows(1)[0], "prompt": "New."}, source[3], {**rows(1)[0], "prompt": "Newer."}]
    jsonl([*new, *source])
    planned = []
    original = module.annotate_by_structure
    monkeypatch.setattr(module, "annotate_by_structure", lambda *given: planned.append(given[0]) or original(*given))
    shown = []
    report = annotate_file(job, show=lambda finished, total: shown.append(finished))
    assert planned == ["New.", "Newer.", *(row["prompt"] for row in source[4:])] and sum(shown) == 10
    kept = [row["prompt"] for row in (*new, *source) if row["response"]]
    assert [record["messages"][0]["content"] for record in read(job.out)] == kept and report["records"] == 10
    assert [one["index"] for one in read(beside(job.out, ".refused.jsonl"))] == [4]


def test_finished_records_are_not_planned_again_and_changed_ones_are(job, jsonl, rows, monkeypatch):
    monkeypatch.setattr(module, "CHUNK", 2)
    _unfinished(job, monkeypatch)
    changed = rows(6)
    changed[1]["prompt"] = "Changed."
    jsonl(changed)
    planned = []
    original = module.annotate_by_structure
    monkeypatch.setattr(module, "annotate_by_structure", lambda *given: planned.append(given[0]) or original(*given))
    annotate_file(job)
    assert planned == ["Changed.", *(row["prompt"] for row in changed[4:])]
    assert [record["messages"][0]["content"] for record in read(job.out)] == [row["prompt"] for row in changed]


def test_a_disk_that_fills_at_the_end_keeps_what_is_finished(job, monkeypatch):
    from planned_diffusion.records import output

    def full(_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(output.os, "fsync", full)
        with pytest.raises(RuntimeError, match="No space left on device.; 6 finished records are safe"):
            annotate_file(job)
    assert not job.out.exists() and not beside(job.out, ".new").exists()
    assert annotate_file(job)["records"] == 6


def test_a_plot_is_drawn_where_matplotlib_is_installed(job):
    pytest.importorskip("matplotlib")
    annotate_file(job)
    assert beside(job.out, ".report.png").read_bytes().startswith(b"\x89PNG")


def test_a_report_without_matplotlib(job, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    annotate_file(job)
    assert job.out.exists() and not beside(job.out, ".report.png").exists()


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"plain": "burn"}, "choose keep or drop"),
        ({"limit": 0}, "limit is 0"),
        ({"unit": 0}, "unit is 0"),
        ({"most_spans": 3}, "most_spans is 3"),
        *(({"min_gain": share}, "above 0 and at most 1") for share in (0, -0.5, 1.01, float("nan"))),
    ],
)
def test_settings_that_cannot_work(changes, complaint, job):
    with pytest.raises(ValueError, match=complaint):
        annotate_file(replace(job, **changes))


def test_outputs_that_cannot_be_written(job, tmp_path):
    job.out.write_text("mine")
    with pytest.raises(ValueError, match="is there already"):
        annotate_file(job)
    assert job.out.read_text() == "mine"
    with pytest.raises(ValueError, match="No file can be written into"):
        annotate_file(replace(job, out=job.out / "out.jsonl"))  # below a file


def test_the_folder_of_the_output_is_made(job, tmp_path):
    out = tmp_path / "new" / "folder" / "out.jsonl"
    annotate_file(replace(job, out=out))
    assert out.exists()


def test_a_checkpoint_without_a_unit_needs_one(job, tmp_path, facts):
    from transformers import AutoTokenizer, Qwen2Config

    AutoTokenizer.from_pretrained(facts).save_pretrained(tmp_path / "base")
    Qwen2Config().save_pretrained(tmp_path / "base")
    with pytest.raises(ValueError, match="no tokens_per_length_unit; give --unit"):
        annotate_file(replace(job, folder=str(tmp_path / "base")))
    assert annotate_file(replace(job, folder=str(tmp_path / "base"), unit=10))["records"] == 6
