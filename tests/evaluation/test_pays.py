"""`pays`: each verdict from answers that deserve it, ratios made by hand, and the whole on the included model."""

import json
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest

from planned_diffusion.cli.main import main
from planned_diffusion.evaluation import both_ways, text_contest
from planned_diffusion.evaluation.bootstrap import Estimate
from planned_diffusion.evaluation.both_ways import does_it_pay, sample_of, sides_of
from planned_diffusion.evaluation.likelihood import Likelihood
from planned_diffusion.evaluation.pays_figures import Sides, compare, estimated_share
from planned_diffusion.evaluation.text_answers import TextAnswer, WrittenSpan
from planned_diffusion.evaluation.text_prompts import TextPrompt
from planned_diffusion.evaluation.text_settings import TextEvaluation
from planned_diffusion.evaluation.variants import VARIANTS
from planned_diffusion.evaluation.verdict import verdict_on
from planned_diffusion.loading.bases import BASES
from planned_diffusion.loading.embedded import EMBEDDED

FACTS = str(EMBEDDED)
PLANNER, OTHER = "planned, threshold 0.9, lookahead 3", "parallel autoregressive, lookahead 3"
FIELDS = {name: VARIANTS[name] for name in (PLANNER, OTHER, "autoregressive", "speculative")}


def answer(system, line, parts=1, nats=1.0, seconds=1.0, **changes) -> TextAnswer:
    """An answer of so many parts, with so many nats per token."""
    span = WrittenSpan("topic", 8, 6, "some words about it")
    given = {
        "batch_size": 1, "batch": line, "asked": TextPrompt(line, "Why?"), "text": "some words about it",
        "plans": ((span,) * parts,) if parts > 1 else (), "ended": "eos", "plan_tokens": 9 * (parts > 1),
        "planning": 9 * (parts > 1), "forwards": 40, "critical_path": 40, "tokens": 40, "tokens_run": 90,
        "seconds": seconds, "likelihood": Likelihood(-40.0 * nats, 40),
    }  # fmt: skip
    return TextAnswer(system, **{**given, **changes})


def sides(count=40, parts=3, times=0.5, nats=1.0, tokens=90, noise=0.1, **changes) -> Sides:
    """A planner that needs `times` the seconds of the reference, give or take `noise`, on `count` prompts."""
    rng = Random(0)
    seconds = [rng.uniform(1, 9) for _ in range(count)]
    plain = [answer("autoregressive", line, seconds=each, tokens=tokens) for line, each in enumerate(seconds)]
    planned = [
        answer(PLANNER, line, parts, nats, seconds=each * times * rng.uniform(1 - noise, 1 + noise), **changes)
        for line, each in enumerate(seconds)
    ]
    return Sides({"autoregressive": plain}, {PLANNER: planned})


@pytest.mark.parametrize(
    ("found", "name", "said"),
    [
        (sides(), "pays", "Planning pays here: planned, threshold 0.9, lookahead 3 takes 0.5"),
        (sides(nats=1.4), "pays", "its planned answers differ by -0.40 (-0.40 to -0.40) nats per token. Use decoding="),
        (sides(nats=1.6), "text", "does not pay here, because it costs text: "),
        (sides(parts=1, times=1.0), "one piece", "0 % (0 to 8 %) of the answers get a plan, although only 0 % (0 to"),
        (sides(parts=1, times=0.5), "one piece", "in one piece"),  # faster for another reason than a plan
        (sides(parts=1, tokens=12), "short", "too short: 100 % (92 to 100 %) of them have fewer than 60 tokens"),
        (sides(times=1.3, critical_path=20), "slower", "because each forward takes longer: "),
        (sides(times=1.3, critical_path=44), "slower", "because the parts save fewer forwards than the plan takes: "),
        (sides(times=1.0, noise=0.9), "open", "so that it may be faster or not; give more prompts than these 40"),
        (sides(count=20, parts=1), "open", "cannot be told"),  # up to 15 % may have plans
        (sides(likelihood=None), "pays", "and nothing scored its text"),
        (sides(batch=0), "open", "the times of 1 batches, and an interval takes 6; give more prompts than these 40"),
    ],
)  # fmt: skip
def test_verdicts(found, name, said):
    verdict = verdict_on(found, FIELDS)
    assert (verdict.name, verdict.pays) == (name, name == "pays")
    assert said in verdict.sentence and verdict.sentence.count("\n") == 0
    assert verdict.best == (PLANNER if name == "pays" else None)


def test_a_tolerance_decides_what_is_allowed():
    assert verdict_on(sides(nats=1.6), FIELDS, tolerance=0.7).name == "pays"
    assert verdict_on(sides(nats=1.1), FIELDS, tolerance=0.0).name == "text"


def test_a_likelihood_that_straddles_the_tolerance_is_open():
    found = sides()
    rough = [replace(one, likelihood=Likelihood(-40.0 * (1 + line % 2), 40)) for line, one in
             enumerate(found.planners[PLANNER])]  # fmt: skip
    verdict = verdict_on(replace(found, planners={PLANNER: rough}), FIELDS)
    assert (
        verdict.name == "open" and "which may be more than the 0.5 that --tolerance allows, or less" in verdict.sentence
    )


def test_the_best_is_the_fastest_that_keeps_its_text():
    fast, kind = sides(times=0.3, nats=2.0), sides(times=0.6)
    kinder = [replace(one, system=OTHER) for one in kind.planners[PLANNER]]
    both = Sides(kind.left_to_right, {**fast.planners, OTHER: kinder})
    verdict = verdict_on(both, FIELDS)
    assert (verdict.name, verdict.best) == ("pays", OTHER)
    assert "Use decoding='parallel_autoregressive', plan_lookahead=3, plan_drafts=0." in verdict.sentence


def test_the_reference_is_the_faster_way_left_to_right():
    found = sides(times=0.9)
    quick = [replace(one, system="speculative", seconds=one.seconds / 2) for one in
             found.left_to_right["autoregressive"]]  # fmt: skip
    both = replace(found, left_to_right={**found.left_to_right, "speculative": quick})
    assert found.reference == "autoregressive" and verdict_on(found, FIELDS).name == "pays"
    assert both.reference == "speculative" and verdict_on(both, FIELDS).name == "slower"


def test_ratios_are_those_of_sums_over_the_same_prompts():
    own = [answer(PLANNER, line, parts=1 + line % 2, seconds=line + 1.0, forwards=10 + line, nats=1.5)
           for line in range(6)]  # fmt: skip
    other = [answer("autoregressive", line, seconds=2.0 * line + 3, forwards=50, critical_path=80) for line in range(6)]
    found = compare(PLANNER, list(zip(own, other, strict=True)))
    assert found.seconds.value == pytest.approx(sum(range(1, 7)) / sum(2 * line + 3 for line in range(6)))
    assert found.forwards.value == pytest.approx(sum(range(10, 16)) / 300)
    assert found.critical_path.value == 0.5 and found.tokens.value == 1
    assert found.likelihood.value == pytest.approx(-0.5) and found.likelihood.count == 3  # the planned ones
    assert found.planned.value == 0.5


def test_pairs_make_the_interval_narrow():
    """Prompts of 1 to 9 seconds, and a planner that takes half of each: the ratio is certain, the seconds are not."""
    exact = sides(noise=0)
    pairs = zip(exact.planners[PLANNER], exact.left_to_right["autoregressive"], strict=True)
    found = compare(PLANNER, list(pairs))
    assert found.seconds.low == pytest.approx(0.5) and found.seconds.high == pytest.approx(0.5)


def test_answers_of_a_batch_are_drawn_together():
    own, other = sides(count=8).planners[PLANNER], sides(count=8).left_to_right["autoregressive"]
    apart = compare(PLANNER, list(zip(own, other, strict=True)))
    batched = [(replace(one, batch=line // 4), two) for line, (one, two) in enumerate(zip(own, other, strict=True))]
    together = compare(PLANNER, batched)
    assert together.seconds.value == pytest.approx(apart.seconds.value)
    assert (apart.seconds.count, together.seconds.count, together.forwards.count) == (8, 2, 8)


@pytest.mark.parametrize(("parts", "low", "high"), [(1, 0.0, 0.3), (3, 0.7, 1.0)])
def test_a_share_that_is_always_the_same_is_not_certain(parts, low, high):
    found = estimated_share([answer(PLANNER, line, parts).is_planned for line in range(10)])
    assert found == Estimate(float(parts > 1), pytest.approx(low), pytest.approx(high), 10)


def test_a_sample_is_drawn_once_and_for_all():
    prompts = [TextPrompt(line, "Why?") for line in range(50)]
    drawn = sample_of(prompts, 10)
    assert drawn == sample_of(prompts, 10) and len({one.line for one in drawn}) == 10
    assert [one.line for one in drawn] == sorted(one.line for one in drawn) != list(range(10))
    assert sample_of(prompts, None) == sample_of(prompts, 50) == sample_of(prompts, 99) == prompts


# On the included model

PROMPTS = (
    "What are the capital, the currency and the continent of Kenya?", "What is the capital of Chad?",
    "What are the capital, the currency and the continent of Peru?",
)  # fmt: skip


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "prompts.txt"
    path.write_text("\n".join(PROMPTS))
    return path


@pytest.fixture
def opened(monkeypatch, facts_checkpoint):
    """The included model is not loaded anew; of the systems three take part."""
    monkeypatch.setattr(text_contest, "open_checkpoint", lambda *_: facts_checkpoint)
    chosen = {name: VARIANTS[name] for name in ("autoregressive", PLANNER, "diffusion, ratio 1")}
    monkeypatch.setattr("planned_diffusion.evaluation.text_settings.TEXT_SYSTEMS", chosen)


def test_both_ways_on_the_included_model(opened, file, tmp_path, capsys, monkeypatch):
    keep = tmp_path / "answers.jsonl"
    evaluation = TextEvaluation(FACTS, file, count=3, batch_size=1, max_new_tokens=80, as_json=True)
    verdict, answers = does_it_pay(evaluation, keep)
    told = json.loads(capsys.readouterr().out)
    # each prompt by each system in turn; plain diffusion neither plans nor writes left to right
    assert [(one.asked.line, one.system) for one in answers] == [
        (line, system) for line in (1, 2, 3) for system in ("autoregressive", PLANNER)
    ]
    assert told["verdict"] == {"name": verdict.name, "sentence": verdict.sentence, "best": verdict.best}
    assert told["reference"] == "autoregressive" and [row["system"] for row in told["compared"]] == [PLANNER]
    [row] = told["compared"]
    assert row["planned"]["value"] == pytest.approx(2 / 3) and row["critical_path"]["high"] < 1
    assert row["likelihood"]["count"] == 2 and told["stamp"]["batch"] == 1
    monkeypatch.setattr(both_ways, "warm_up", lambda systems, asked: None)
    monkeypatch.setattr(text_contest, "answer_batch", None)  # all answers are kept already
    again, same = does_it_pay(replace(evaluation, as_json=False), keep)
    assert (again, same) == (verdict, answers)
    shown = capsys.readouterr().out
    for text in ("3 prompts, one at a time", "critical path", "planners over autoregressive, the faster way", PLANNER):
        assert text in shown
    assert " ".join(shown.split()).endswith(verdict.sentence)


def test_a_decoder_that_is_named_plans_alone_beside_both_ways_left_to_right(file):
    evaluation = TextEvaluation(FACTS, file, decoding="parallel_speculative")
    assert list(both_ways.chosen_systems(evaluation)) == [
        "parallel speculative, lookahead 3", "autoregressive", "speculative"
    ]  # fmt: skip
    for decoding in ("speculative", "diffusion"):
        with pytest.raises(ValueError, match=f"decoding is '{decoding}', which does not plan; choose one of planned, "):
            both_ways.chosen_systems(replace(evaluation, decoding=decoding))


def test_refused_before_any_work(opened, file, monkeypatch, tmp_path):
    monkeypatch.setattr(both_ways, "load_sides", None)
    evaluation = TextEvaluation(FACTS, file)
    for tolerance in (-1.0, float("nan")):
        with pytest.raises(ValueError, match=f"tolerance is {tolerance}; give nats per token, at least 0"):
            does_it_pay(evaluation, tolerance=tolerance)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    base = replace(evaluation, model=str(BASES["smollm2"].from_wheel))
    with pytest.raises(ValueError, match="smollm2-.* has not learned to plan, so there is nothing"):
        does_it_pay(base)
    with pytest.raises(ValueError, match="There is no file .*; give --prompts a file"):
        does_it_pay(replace(evaluation, prompts=tmp_path / "no.jsonl"))


def test_the_command_passes_its_options_on(monkeypatch, file, tmp_path, capsys):
    seen = []
    monkeypatch.setattr(both_ways, "does_it_pay", lambda *given: seen.append(given))
    assert main(["pays", str(file)]) == 0
    keep = tmp_path / "a.jsonl"
    options = ["--model", FACTS, "--base", FACTS, "--count", "9", "--batch-size", "2", "--max-new-tokens", "40"]
    options += ["--temperature", "0.7", "--all", "--tolerance", "0.1", "--keep", str(keep), "--json"]
    assert main(["pays", str(file), *options]) == 0
    assert seen == [
        (TextEvaluation(FACTS, file, None, 100, 1, 256), None, 0.5),
        (TextEvaluation(FACTS, file, FACTS, 9, 2, 40, 100, 0.7, True, None, True), keep, 0.1),
    ]
    assert main(["pays", str(file), "--keep", str(tmp_path / "no" / "a.jsonl")]) == 2
    assert "give --keep another place" in capsys.readouterr().err


def test_answers_are_sorted_by_side():
    answers = [answer(name, 1) for name in FIELDS]
    found = sides_of(answers, FIELDS)
    assert list(found.left_to_right) == ["autoregressive", "speculative"] and list(found.planners) == [PLANNER, OTHER]


def test_three_kinds_of_prompts_are_drawn(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "benchmarks"))
    import three_kinds

    monkeypatch.setattr(three_kinds, "DRAWN", 200)
    files = three_kinds.write_kinds(tmp_path, 5)
    assert [file.name for file in files] == ["lists.jsonl", "stories.jsonl", "sums.jsonl"]
    rows = [json.loads(line) for file in files for line in file.read_text(encoding="utf-8").splitlines()]
    assert [(row["kind"], row["parts"]) for row in rows] == [("list", True)] * 5 + [("story", False)] * 5 + [
        ("sum", False)
    ] * 5
    with pytest.raises(ValueError, match="count is 99, and fewer prompts of kind list were drawn; give a smaller"):
        three_kinds.write_kinds(tmp_path, 99)


def test_most_answers_decide_whether_they_are_short():
    """One long answer in ten lifts the mean of the tokens above 60, and most are short all the same."""
    found = sides(parts=1, tokens=12)
    [plain] = found.left_to_right.values()
    mixed = [replace(one, tokens=30 if line % 10 else 400) for line, one in enumerate(plain)]
    some = replace(found, left_to_right={"autoregressive": mixed})
    assert sum(one.tokens for one in mixed) > 60 * len(mixed) and verdict_on(some, FIELDS).name == "short"
    few = [replace(one, tokens=120 if line % 10 else 12) for line, one in enumerate(plain)]
    assert verdict_on(replace(found, left_to_right={"autoregressive": few}), FIELDS).name == "one piece"


def test_where_neither_short_nor_long_answers_are_most_both_are_said():
    found = sides(parts=1, tokens=12)
    [plain] = found.left_to_right.values()
    halves = [replace(one, tokens=12 if line % 2 else 120) for line, one in enumerate(plain)]
    verdict = verdict_on(replace(found, left_to_right={"autoregressive": halves}), FIELDS)
    assert (verdict.name, verdict.pays, verdict.best) == ("mixed", False, None)
    assert "are too short, and the model writes the others in one piece: 0 % (0 to 8 %)" in verdict.sentence
    assert "; 50 % (" in verdict.sentence
