"""Plans that gain too little are left out: hand arithmetic, the report, and what a thought counts."""

import json
from dataclasses import replace

import pytest

from planned_diffusion.annotation.gain import critical_path, plain_where_it_gains_little, plan_tokens, sequential
from planned_diffusion.annotation.outcomes import Kept
from planned_diffusion.annotation.pipeline import AnnotationJob, annotate_file
from planned_diffusion.annotation.tagging import Sizes
from planned_diffusion.records.output import beside
from planned_diffusion.records.tagged import is_tagged, write_tagged

# Two promises of 6 and one of 5 tokens; spans of 20 and 30, then one of 10.
#   plan 12 + <sync/> 1 + longest 30, then plan 5 + EOS 1 + 10: 59 forwards; without plan 20 + 30 + 10 + EOS: 61.
SIZES = Sizes(spans=((20, 30), (10,)), plan=(12, 5))


def kept(sizes, rounds, kind="parallel"):
    row = {
        "messages": [
            {"role": "user", "content": "Ask."},
            {"role": "assistant", "content": write_tagged(rounds, len, 8)},
        ]
    }
    return Kept(0, "hash", {**row, "annotation": kind, "id": 7}, kind, "enumeration", sizes)


def test_hand_arithmetic():
    assert (plan_tokens(SIZES), critical_path(SIZES), sequential(SIZES)) == (19, 59, 61)


ROUNDS = ((("a", "One."), ("b", " Two.")), (("closing", " End."),))


@pytest.mark.parametrize(("min_gain", "is_planned"), [(None, True), (1.0, True), (59 / 61, True), (0.96, False)])
def test_a_plan_is_kept_up_to_its_share(min_gain, is_planned):
    record = kept(SIZES, ROUNDS)
    found = plain_where_it_gains_little(record, min_gain)
    if is_planned:
        assert found is record
        return
    assert (found.kind, found.reason, found.sizes) == ("plain", "small gain (parallel)", Sizes((), ()))
    assert found.row["messages"][1]["content"] == "One. Two. End." and found.row["id"] == 7
    assert found.row["annotation"] == "plain" and is_tagged(record.row["messages"][1]["content"])


def test_steps_never_gain():
    record = kept(Sizes(spans=((500,), (500,)), plan=(5, 5)), ((("a", "One."),), (("b", " Two."),)), "steps")
    assert plain_where_it_gains_little(record, 1.0).reason == "small gain (steps)"


def test_a_thought_is_written_first_in_any_case():
    """Path 6 + 10 + 2 + 20 = 38 of 41 beside 1,000 tokens of thought: 0.93, not 1,038 / 1,041."""
    sizes = Sizes(spans=((1000,), (20, 20)), plan=(6, 10))
    record = kept(sizes, ((("thought", "<think>Hm.</think>"),), (("a", "One."), ("b", " Two."))))
    assert plain_where_it_gains_little(record, 0.93) is record
    assert plain_where_it_gains_little(record, 0.92).kind == "plain"


def test_the_report_says_why_and_the_journal_keeps_the_plans(jsonl, rows, tmp_path, facts):
    short = {"prompt": "Two tips.", "response": "1. Rest: lie down for a while.\n2. Walk: go out for a while.", "id": 9}
    job = AnnotationJob(str(jsonl([*rows(2), short])), tmp_path / "out.jsonl", facts, min_gain=0.7)
    report = annotate_file(job)
    assert report["kinds"] == {"parallel": 2, "plain": 1}
    assert report["why"]["plain: small gain (parallel)"] == 1 and report["written"] == 3
    written = [json.loads(line) for line in job.out.read_text(encoding="utf-8").splitlines()]
    assert written[2]["messages"][1]["content"] == short["response"] and written[2]["annotation"] == "plain"
    assert report["mean_critical_path"] <= 0.7 * report["mean_sequential"]
    every = annotate_file(replace(job, out=tmp_path / "all.jsonl", min_gain=None))
    assert every["kinds"] == {"parallel": 3}
    assert not beside(job.out, ".partial").exists()
    dropped = annotate_file(replace(job, out=tmp_path / "dropped.jsonl", plain="drop"))
    assert dropped["written"] == 2
