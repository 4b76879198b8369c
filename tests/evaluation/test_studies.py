"""Studies: what is in the table, plans that are edited, verdicts on changes, and whole runs on the included model."""

import json
import sys
from dataclasses import replace
from itertools import pairwise
from typing import get_args, get_type_hints

import pytest
import torch

from planned_diffusion.cli.main import main
from planned_diffusion.cli.study import study as study_command
from planned_diffusion.evaluation import studies, study_run, text_contest
from planned_diffusion.evaluation.bootstrap import Estimate, compared, estimate
from planned_diffusion.evaluation.plan_edits import PLAN_EDITS, edited_plans
from planned_diffusion.evaluation.report_runs import read_run
from planned_diffusion.evaluation.shards import Shard
from planned_diffusion.evaluation.studies import STUDIES, Finding, Study
from planned_diffusion.evaluation.study_findings import COSTS, QUALITIES, judge, terms_of, verdict_on_change
from planned_diffusion.evaluation.study_run import StudySettings, run_study
from planned_diffusion.evaluation.text_answers import TextSystem, answer_batch
from planned_diffusion.evaluation.text_prompts import TextPrompt
from planned_diffusion.evaluation.variants import PLANNED
from planned_diffusion.facts.generator import held_out_questions
from planned_diffusion.generation.plan import parse_round
from planned_diffusion.generation.tokens import ControlTokens

QUICK = {**PLANNED, "confidence_threshold": 0.5, "plan_lookahead": 3}
SMALL = Study(
    "Does a plan in one round do?",
    {"given back": QUICK, "one round": QUICK, "plain": {"decoding": "autoregressive"}},
    (
        Finding("one round is worse", "one round", "given back", "facts right"),
        Finding("one round takes more forwards", "one round", "given back", "forwards", is_less=False),
        Finding("plain ones lack a plan", "plain", "given back", "plan tokens"),
        Finding("comparisons are worse, too", "one round", "given back", "facts right", kind="comparison"),
    ),
    {"given back": "as it is", "one round": "in one round"},
    comparisons=1.0,
    by_kind=True,
    areas=True,
)


@pytest.fixture(autouse=True)
def small_study(monkeypatch, facts_checkpoint):
    monkeypatch.setitem(studies.STUDIES, "small", SMALL)
    monkeypatch.setattr(study_run, "open_checkpoint", lambda name: facts_checkpoint)


def test_the_table_of_studies():
    for name, study in STUDIES.items():
        assert study.edits.keys() <= study.systems.keys(), name
        assert set(study.edits.values()) <= PLAN_EDITS.keys(), name
        for one in study.findings:
            assert {one.system, one.than} <= study.systems.keys() and one.system != one.than, one
            assert one.figure in (*QUALITIES, *COSTS), one


def test_the_command_line_knows_all_studies():
    names = get_args(get_type_hints(study_command)["name"])
    assert set(names) == STUDIES.keys() - {"small"}
    [help_text] = (one.help for one in get_type_hints(study_command, include_extras=True)["name"].__metadata__)
    assert all(f"{name}: " in help_text for name in names)


TERMS = [(1, 2), (0, 1), (3, 3), (2, 5), (4, 4)]
OTHERS = [(1, 1), (2, 3), (0, 2), (1, 6), (3, 4)]


def test_changes_of_figures_by_hand():
    difference = compared(zip(TERMS, OTHERS, strict=True), torch.sub)
    ratio = compared(zip(TERMS, OTHERS, strict=True), torch.div)
    assert difference.value == pytest.approx(10 / 15 - 7 / 16) and ratio.value == pytest.approx((10 / 15) / (7 / 16))
    assert difference.low < difference.value < difference.high and difference.count == 5


def test_a_change_from_a_constant_is_an_estimate_moved():
    alone = estimate(TERMS)
    moved = compared([(term, (2, 1)) for term in TERMS], torch.sub)
    scaled = compared([(term, (2, 1)) for term in TERMS], torch.div)
    for name in ("value", "low", "high"):
        assert getattr(moved, name) == pytest.approx(getattr(alone, name) - 2)
        assert getattr(scaled, name) == pytest.approx(getattr(alone, name) / 2)


def test_pairs_are_drawn_together_and_those_that_lack_a_side_are_left_out():
    same = compared(zip(TERMS, TERMS, strict=True), torch.sub)
    assert (same.value, same.low, same.high) == (0, 0, 0)
    pairs = list(zip(TERMS, OTHERS, strict=True))
    assert compared([*pairs, (None, (1, 1)), ((1, 1), None), ((0, 0), (1, 1))], torch.sub) == compared(pairs, torch.sub)
    assert compared([(None, (1, 1))], torch.sub) is None


@pytest.mark.parametrize(
    ("low", "high", "is_less", "verdict"),
    [
        (-0.3, -0.1, True, "confirmed"), (-0.3, -0.1, False, "refuted"),
        (0.1, 0.3, True, "refuted"), (0.1, 0.3, False, "confirmed"),
        (-0.1, 0.1, True, "not shown"), (-0.1, 0.0, True, "not shown"), (0.0, 0.0, False, "not shown"),
    ],
)  # fmt: skip
def test_verdicts_on_changes(low, high, is_less, verdict):
    assert verdict_on_change(Estimate(0.0, low, high, 9), 0.0, is_less) == verdict
    assert verdict_on_change(Estimate(1.0, low + 1, high + 1, 9), 1.0, is_less) == verdict
    assert verdict_on_change(None, 0.0, is_less) == "not shown"


def prompts_of(questions):
    return [TextPrompt(line, one.prompt) for line, one in enumerate(questions, start=1)]


@pytest.fixture(scope="module")
def comparisons():
    return held_out_questions(2, 1, comparison_share=1.0)


def test_edited_plans_are_spelled_as_the_grammar_reads_them(facts_checkpoint, comparisons):
    control = ControlTokens.from_config(facts_checkpoint.model.config)
    prompts, unit = prompts_of(comparisons), facts_checkpoint.unit(QUICK)
    plans = {name: edited_plans(facts_checkpoint, QUICK, edit, prompts) for name, edit in PLAN_EDITS.items()}
    for line in (1, 2):
        own, bare, one = (plans[name][line] for name in ("as it is", "without topics", "in one round"))
        assert [len(found) for found in (own, bare, one)] == [2, 2, 1]
        for found in (*own, *bare, *one):
            assert parse_round((*found.plan_ids, found.terminator), control, unit) == found
        assert [span.length for each in bare for span in each.spans] == [span.length for span in one[0].spans]
        assert one[0].spans == tuple(span for each in own for span in each.spans)
        assert all(span.topic_ids for span in one[0].spans)
        assert not any(span.topic_ids for each in bare for span in each.spans)
        assert bare[-1].terminator == one[0].terminator == control.eos[0] and bare[0].terminator == control.sync


def test_a_plan_that_is_given_back_as_it_is_changes_nothing_but_the_planning(facts_checkpoint, comparisons):
    prompts = prompts_of([*comparisons, *held_out_questions(2, 1, comparison_share=0.0)])
    fields = {**QUICK, "max_new_tokens": 100}
    own = answer_batch(TextSystem("own", facts_checkpoint, fields), prompts, 4)
    again = answer_batch(TextSystem("again", facts_checkpoint, fields, "as it is"), prompts, 4)
    assert [one.text for one in again] == [one.text for one in own]
    assert [one.plans for one in again] == [one.plans for one in own]
    assert all(one.planning > 0 for one in own) and not any(one.planning for one in again)


def test_prompts_without_a_plan_and_without_room_are_answered_as_ever(facts_checkpoint):
    prompts = [TextPrompt(1, "What is the capital of Kenya?"), TextPrompt(2, "How many? " * 300)]
    system = TextSystem("any", facts_checkpoint, {"decoding": "planned", "max_new_tokens": 4})
    plain, none = answer_batch(replace(system, plan_edit="without topics"), prompts, 2)
    expected, refused = answer_batch(system, prompts, 2)
    assert plain.text == expected.text and plain.plans == () and none.error == refused.error is not None


def test_a_study_from_answers_to_files(tmp_path, capsys):
    settings = StudySettings(count=3, batch_size=2, folder=tmp_path / "out")
    result = run_study("small", settings)
    shown = " ".join(capsys.readouterr().out.split())
    assert "3 questions; 95 % intervals" in shown and "Findings" in shown and "AUP" in shown and "comparison" in shown
    assert [row.system for row in result.rows] == list(SMALL.systems) and {row.answers for row in result.rows} == {3}
    worse, _, no_plan, again = result.findings
    given, one = result.rows[:2]
    assert worse.change.value == pytest.approx(one.figures["facts right"].value - given.figures["facts right"].value)
    assert worse.verdict == again.verdict and worse.how == "difference" and worse.change == again.change
    assert no_plan.change is None and no_plan.verdict == "not shown"
    assert {one.decoding for one in result.areas} == {"planned", "autoregressive"}
    assert {file.name for file in (tmp_path / "out").iterdir()} == {
        f"small.{end}" for end in ("jsonl", "json", "md", "png")
    }
    told = json.loads((tmp_path / "out" / "small.json").read_text(encoding="utf-8"))
    assert told["findings"][0]["change"]["value"] == worse.change.value and told["stamp"]["study"] == "small"
    assert told["results"][0]["facts right"]["count"] == 3 and told["by_kind"][0]["kind"] == "comparison"
    text = (tmp_path / "out" / "small.md").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if line.startswith("| one round is worse | ")]
    assert len(lines) == 1 and lines[0].endswith(f"| {worse.verdict} |")
    for block in text.split("\n\n"):
        assert (
            len({line.count("|") for line in block.splitlines() if line.startswith("|")}) <= 1
        )  # rows as wide as heads
    kept = read_run(tmp_path / "out" / "small.jsonl")
    assert len(kept.answers) == 9 and read_run(tmp_path / "out" / "small.json").figures


def test_a_study_that_was_stopped_continues_and_shards_are_gathered(tmp_path, monkeypatch, capsys):
    settings, made, answer = StudySettings(count=2, as_json=True), [], text_contest.answer_batch
    whole = run_study("small", settings)

    def stopped(*given):
        if len(made) == 3:
            raise KeyboardInterrupt
        made.append(given)
        return answer(*given)

    monkeypatch.setattr(study_run, "warm_up", lambda systems, asked: None)
    monkeypatch.setattr(text_contest, "answer_batch", stopped)
    with pytest.raises(KeyboardInterrupt):
        run_study("small", replace(settings, folder=tmp_path))
    monkeypatch.setattr(text_contest, "answer_batch", lambda *given: made.append(given) or answer(*given))
    resumed = run_study("small", replace(settings, folder=tmp_path))
    assert len(made) == 6 and figures(resumed) == figures(whole)
    for shard in (Shard(1, 2), Shard(2, 2)):
        run_study("small", replace(settings, folder=tmp_path / "shared", shard=shard))
    assert len(made) == 12 and not (tmp_path / "shared" / "small.json").exists()
    assert figures(run_study("small", replace(settings, folder=tmp_path / "shared"))) == figures(whole)
    assert len(made) == 12


def figures(result):
    """The figures of a study but its seconds."""
    return [{name: one for name, one in row.figures.items() if name != "seconds"} for row in result.rows]


def test_a_worse_answer_is_found_worse(facts_checkpoint):
    questions = held_out_questions(40, 3, comparison_share=0.0)
    [made] = answer_batch(TextSystem("good", facts_checkpoint, QUICK), prompts_of(questions[:1]), 1)
    good = [replace(made, asked=TextPrompt(line, one.prompt), text=one.answer, batch=line)
            for line, one in enumerate(questions)]  # fmt: skip
    bad = [replace(one, system="bad", text="" if line % 2 else one.text, forwards=99, seconds=one.seconds * 2)
           for line, one in enumerate(good)]  # fmt: skip

    def terms(answer):
        return terms_of(questions[answer.asked.line], answer)

    finding = Finding("bad is worse", "bad", "good", "answers right")
    assert judge(finding, bad, good, terms).verdict == "confirmed"
    assert judge(finding, bad, good, terms).change.value == -0.5
    assert judge(replace(finding, is_less=False), bad, good, terms).verdict == "refuted"
    slower = judge(replace(finding, figure="seconds"), bad, good, terms)
    assert slower.change.value == pytest.approx(2) and slower.how == "ratio" and slower.verdict == "refuted"
    assert judge(finding, good, good, terms).verdict == "not shown"


def test_bad_studies(tmp_path, monkeypatch, capsys):
    with pytest.raises(ValueError, match="There is no study 'large'; choose among steps, attention"):
        run_study("large", StudySettings())
    with pytest.raises(ValueError, match="count is 0 and batch_size 1; both must be at least 1"):
        StudySettings(count=0)
    with pytest.raises(ValueError, match="Shard 1/2 has no folder for its results; give --out"):
        StudySettings(shard=Shard(1, 2))
    file = tmp_path / "file"
    file.write_text("")
    assert main(["study", "sync", "--out", str(file)]) == 2
    assert "is no folder; give --out another name." in capsys.readouterr().err
    assert main(["study", "large"]) == 2
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(RuntimeError, match="A plot needs matplotlib"):
        run_study("small", StudySettings(folder=tmp_path / "out"))


def test_lengths_are_studied_around_the_promise():
    factors = [fields["length_scale"] for fields in STUDIES["length"].systems.values()]
    assert factors[0] == 0.5 and factors[-1] == 2.5 and 1.0 in factors and all(a < b for a, b in pairwise(factors))
