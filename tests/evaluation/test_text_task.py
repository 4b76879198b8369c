"""The text task from end to end on the included model, its own base here: answers, resuming, what it prints."""

import json
import re
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from planned_diffusion.evaluation import text_contest, text_settings
from planned_diffusion.evaluation.text_answers import TextSystem
from planned_diffusion.evaluation.text_contest import Contest, answer_all, batches_of
from planned_diffusion.evaluation.text_prompts import TextPrompt, read_text_prompts
from planned_diffusion.evaluation.text_settings import BASE, TextEvaluation
from planned_diffusion.evaluation.text_task import evaluate_text
from planned_diffusion.evaluation.variants import TEXT_SYSTEMS, VARIANTS
from planned_diffusion.inference.answer import ask
from planned_diffusion.loading.bases import BASES
from planned_diffusion.loading.embedded import EMBEDDED

PROMPTS = (
    {"prompt": "What are the capital and the currency of Kenya?", "parts": True, "kind": "two facts"},
    {"prompt": "What is the capital of Chad?", "parts": False, "kind": "one fact"},
    {"messages": [{"role": "user", "content": "Do Kenya and Uganda use the same currency?"}], "parts": True},
    {"instruction": "What are the capital and the continent of Peru?"},
)
FACTS = str(EMBEDDED)
PLANNED = "planned, threshold 0.9, lookahead 3"


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("prompts") / "prompts.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in PROMPTS), encoding="utf-8")
    return path


@pytest.fixture
def opened(monkeypatch, facts_checkpoint):
    """The included model is not loaded anew; returns the names that were opened."""
    names = []
    monkeypatch.setattr(text_contest, "open_checkpoint", lambda name, *_: names.append(name) or facts_checkpoint)
    return names


@pytest.fixture
def evaluation(file, monkeypatch):
    """Of one system, beside the base."""
    monkeypatch.setattr(text_settings, "TEXT_SYSTEMS", {PLANNED: VARIANTS[PLANNED]})
    return TextEvaluation(FACTS, file, FACTS, batch_size=3, max_new_tokens=80)


@pytest.fixture(scope="module")
def whole(file, facts_checkpoint):
    """All answers of the systems of `evaluation`, in the order in which they come."""
    shared = TextEvaluation(FACTS, file, max_new_tokens=80).fields
    systems = {BASE: {"decoding": "autoregressive"}, PLANNED: VARIANTS[PLANNED]}
    contest = Contest(
        [TextSystem(name, facts_checkpoint, {**fields, **shared}) for name, fields in systems.items()], facts_checkpoint
    )
    return list(answer_all(contest, batches_of(read_text_prompts(file), (3, 1))))


@pytest.fixture
def calls(whole, monkeypatch):
    """Batches are answered as `whole` has them; returns the batches that were answered."""
    known, made = {(one.system, one.batch_size, one.asked.line): one for one in whole}, []

    def answer(system, batch, size):
        made.append((system.name, size, [asked.line for asked in batch]))
        return [replace(known[system.name, size, asked.line], likelihood=None) for asked in batch]

    monkeypatch.setattr(text_contest, "answer_batch", answer)
    return made


def test_answers(whole, facts_checkpoint):
    # every system answers a batch before the next batch comes; batches of 3, then one at a time
    assert [(one.system, one.batch_size, one.asked.line) for one in whole] == [
        *((BASE, 3, line) for line in (1, 2, 3)), *((PLANNED, 3, line) for line in (1, 2, 3)), (BASE, 3, 4),
        (PLANNED, 3, 4), *((name, 1, line) for line in (1, 2, 3, 4) for name in (BASE, PLANNED)),
    ]  # fmt: skip
    alone = ask(facts_checkpoint, PROMPTS[2]["messages"], {**VARIANTS[PLANNED], "max_new_tokens": 80})
    (own,) = [one for one in whole if (one.system, one.batch_size, one.asked.line) == (PLANNED, 1, 3)]
    assert (own.text, own.ended, own.forwards) == (alone.text, alone.ended, alone.trace.forwards)
    assert [[(span.topic, span.length, span.text) for span in spans] for spans in own.plans] == [
        [(span["topic"], span["length"], span["text"]) for span in spans] for spans in alone.plans
    ]
    for span in own.spans:
        assert span.used == len(facts_checkpoint.tokenizer(span.text, add_special_tokens=False)["input_ids"])
    kept = ask(facts_checkpoint, PROMPTS[2]["messages"], {**VARIANTS[PLANNED], "max_new_tokens": 80, "keep_plan": True})
    plans = re.findall(r"(?:<promise>.*?</topic>)+", kept.text)
    ids = [facts_checkpoint.tokenizer(plan, add_special_tokens=False)["input_ids"] for plan in plans]
    assert len(plans) == len(own.plans) == 2
    assert own.plan_tokens == sum(map(len, ids)) + 2  # and <sync/> and EOS


class Steps:
    """A progress bar that notes what it is told."""

    def __init__(self, steps):
        self.steps = steps

    def __enter__(self):
        return lambda done, total: self.steps.append((done, total))

    def __exit__(self, *error):
        return None


def test_figures_and_what_is_printed(opened, calls, evaluation, tmp_path, capsys):
    keep, steps = tmp_path / "answers.jsonl", []
    evaluate_text(replace(evaluation, as_json=True, bar=lambda title: Steps(steps)), keep=keep)
    told = json.loads(capsys.readouterr().out)
    assert opened == [FACTS]  # model, base and scorer are one
    assert steps == [(0, 16), (3, 16), *((done, 16) for done in range(6, 17))]
    for rows in (told["results"], told["results_alone"]):
        assert [(row["system"], row["answers"]) for row in rows] == [(BASE, 4), (PLANNED, 4)]
    base, planned = (row["figures"] for row in told["results"])
    assert base["planned"]["value"] == 0 and planned["planned"]["value"] == 0.75
    assert planned["planned_where_parts_are_asked"]["value"] == 1
    assert planned["planned_where_no_parts_are_asked"]["value"] == 0
    kinds = told["results"][1]["kinds"]
    assert {kind: found["value"] for kind, found in kinds.items()} == {"one fact": 0, "two facts": 1}
    assert told["stamp"]["batch"] == "3 and 1" and told["stamp"]["base"] == Path(FACTS).name
    header, *kept = map(json.loads, keep.read_text(encoding="utf-8").splitlines())
    assert header["settings"]["task"] == "text" and len(kept) == 16
    assert kept[0]["answer"]["asked"]["prompt"] == PROMPTS[0]["prompt"] and "Nairobi" in kept[0]["answer"]["text"]
    assert kept[0]["figures"]["tokens"] == kept[0]["answer"]["tokens"]


def test_a_run_that_was_stopped_continues_to_the_same_result(
    opened, calls, whole, evaluation, monkeypatch, tmp_path, capsys
):
    keep, fine = tmp_path / "answers.jsonl", text_contest.answer_batch

    def stopped(*given):
        if len(calls) == 3:
            raise KeyboardInterrupt
        return fine(*given)

    monkeypatch.setattr(text_contest, "answer_batch", stopped)
    with pytest.raises(KeyboardInterrupt):
        evaluate_text(evaluation, keep=keep)
    assert "4 prompts, per answer" in capsys.readouterr().out  # of the answers that are there
    lines = keep.read_bytes().splitlines(keepends=True)
    assert len(lines) == 1 + 7
    keep.write_bytes(b"".join(lines[:6]) + lines[6][:20])  # killed: a line is torn, one answer of the second batch lost
    begun, calls[:] = list(calls), []
    monkeypatch.setattr(text_contest, "answer_batch", fine)
    assert evaluate_text(evaluation, keep=keep) == whole
    assert calls[0] == begun[1] and begun[0] not in calls and calls.count(begun[1]) == 1
    calls.clear()
    assert evaluate_text(evaluation, keep=keep) == whole and calls == []
    evaluate_text(replace(evaluation, count=2, batch_size=1), keep=keep)  # fewer prompts, and answered already
    assert calls == []
    evaluate_text(replace(evaluation, max_new_tokens=60), keep=keep)  # into the same file
    assert len(calls) == 12
    with pytest.raises(ValueError, match=r"was begun with other settings \(changed: base, base_checkpoint\)"):
        evaluate_text(replace(evaluation, given_base=None), keep=keep)


def test_without_a_base_quality_is_left_out(opened, calls, evaluation, capsys):
    evaluate_text(replace(evaluation, given_base=None, count=1, batch_size=1))
    shown = capsys.readouterr().out
    assert PLANNED in shown and "-\n" not in shown and BASE not in shown and "seconds alone" not in shown
    with pytest.raises(ValueError, match="--plot draws the likelihood under a base, and none is known"):
        evaluate_text(replace(evaluation, given_base=None), plot=Path("frontier.svg"))


def test_tables_and_picture(opened, calls, evaluation, tmp_path, capsys, monkeypatch):
    pytest.importorskip("matplotlib")
    picture = tmp_path / "frontier.svg"
    evaluate_text(replace(evaluation, count=2), plot=picture)
    shown = capsys.readouterr().out
    for text in ("2 prompts, per answer; 95 % intervals", "seconds, batch 3", "seconds alone", "twin parts",
                 "by kind of prompt", "one fact", "room used", "planned answers over those of the base"):  # fmt: skip
        assert text in shown
    assert picture.read_text(encoding="utf-8").startswith("<?xml")
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(RuntimeError, match="A plot needs matplotlib"):
        evaluate_text(evaluation, plot=picture)


def test_only_the_first_prompts_are_answered_alone(facts_checkpoint, monkeypatch):
    made = []
    monkeypatch.setattr(text_contest, "answer_batch", lambda system, batch, size: made.append((size, len(batch))) or [])
    contest = Contest([TextSystem("any", facts_checkpoint, {})], None)
    prompts = [TextPrompt(line, "Why?") for line in range(5)]
    list(answer_all(contest, batches_of(prompts, (3, 1), alone=2)))
    list(answer_all(contest, batches_of(prompts, (1,), alone=2)))
    assert made == [(3, 3), (3, 2), (1, 1), (1, 1), *[(1, 1)] * 5]


def test_which_systems_and_which_base(file, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    converted = str(BASES["smollm2"].from_wheel)
    plain = TextEvaluation(converted, file)
    assert plain.base == converted and list(plain.systems) == ["autoregressive"]
    assert list(replace(plain, decoding="planned").systems)[0] == "planned, ratio 1"
    ordinary = TextEvaluation(FACTS, file)
    assert ordinary.base is None and ordinary.systems == TEXT_SYSTEMS
    assert replace(ordinary, everything=True).systems == VARIANTS
    assert replace(ordinary, given_base="a/b").base == "a/b"
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    (adapter / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": FACTS, "peft_type": "LORA"}))
    assert TextEvaluation(str(adapter), file).base == FACTS
    sampled = replace(ordinary, temperature=0.7)
    assert sampled.fields == {"max_new_tokens": 256, "seed": 2026, "temperature": 0.7, "do_sample": True}


def test_refused_before_any_work(opened, evaluation, file, monkeypatch):
    monkeypatch.setattr(text_contest, "answer_batch", None)
    for field in ("count", "batch_size", "max_new_tokens"):
        with pytest.raises(ValueError, match=f"{field} is 0; give 1 or more"):
            replace(evaluation, **{field: 0})
    with pytest.raises(ValueError, match="decoding is 'telepathic'; choose one of planned"):
        evaluate_text(replace(evaluation, decoding="telepathic"))
    file.write_text(json.dumps({"prompt": "Hi"}) + "\n" + json.dumps({"prompt": "long " * 9000}) + "\n")
    with pytest.raises(ValueError, match=f"The prompt of line 2 cannot be answered by {BASE}: Prompt 0 has"):
        evaluate_text(evaluation)
