"""Standard tasks on the included model: scores, failures, resuming, files for the judge; and the scores alone."""

import json
import sys
from dataclasses import replace
from decimal import Decimal
from types import ModuleType

import pytest

from planned_diffusion.evaluation import standard_tasks, text_contest, text_settings
from planned_diffusion.evaluation.alpaca_eval_task import JudgedOutputs, evaluate_alpaca_eval
from planned_diffusion.evaluation.gsm8k import gsm8k_terms, last_number
from planned_diffusion.evaluation.standard_tasks import evaluate_standard
from planned_diffusion.evaluation.text_settings import TextEvaluation
from planned_diffusion.evaluation.variants import VARIANTS
from planned_diffusion.loading.embedded import EMBEDDED

FACTS = str(EMBEDDED)
PLANNED, PLAIN = "planned, threshold 0.9, lookahead 3", "autoregressive"
KENYA = "What are the capital and the currency of Kenya?"
SUMS = (
    {"question": "What is 2 + 2?", "answer": "2 + 2 = 4\n#### 4"},
    {"question": "How many sides? " * 200, "answer": "#### 1,001"},  # no room is left for an answer
    {"question": KENYA, "answer": "None.\n#### -3.5"},
)


@pytest.fixture
def write(tmp_path):
    def rows(*rows):
        path = tmp_path / "rows.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        return path

    return rows


@pytest.fixture(autouse=True)
def two_systems(monkeypatch, facts_checkpoint):
    monkeypatch.setattr(standard_tasks, "open_checkpoint", lambda name: facts_checkpoint)
    monkeypatch.setattr(text_settings, "TEXT_SYSTEMS", {name: VARIANTS[name] for name in (PLANNED, PLAIN)})


def evaluation_of(path, **more):
    return TextEvaluation(FACTS, path, **{"batch_size": 2, "max_new_tokens": 60, **more})


def test_gsm8k_counts_a_prompt_without_room_as_failed_and_goes_on(write, tmp_path, capsys):
    keep = tmp_path / "kept.jsonl"
    answers = evaluate_standard("gsm8k", evaluation_of(write(*SUMS), as_json=True), keep)
    told = json.loads(capsys.readouterr().out)
    assert [(one.system, one.asked.line, one.error is None) for one in answers] == [
        (PLANNED, 1, True), (PLANNED, 2, False), (PLAIN, 1, True), (PLAIN, 2, False),
        (PLANNED, 3, True), (PLAIN, 3, True),
    ]  # fmt: skip
    for row in told["results"]:
        assert (row["answers"], row["failed"], row["scores"]["right"]["value"]) == (3, 1, 0)
        assert row["scores"]["right"]["count"] == 3 and row["costs"]["forwards"]["count"] == 2
    assert told["stamp"]["task"] == "gsm8k" and told["stamp"]["max_new_tokens"] == 60
    header, *kept = map(json.loads, keep.read_text(encoding="utf-8").splitlines())
    assert header["settings"]["task"] == "gsm8k" and len(kept) == 6
    assert kept[1]["answer"]["error"] and kept[1]["answer"]["text"] == "" and kept[1]["figures"]["right"] == 0
    assert kept[0]["figures"]["tokens"] == answers[0].tokens


def test_a_run_that_was_stopped_continues_and_one_with_other_data_is_refused(write, tmp_path, monkeypatch):
    evaluation, keep, answer = evaluation_of(write(*SUMS)), tmp_path / "kept.jsonl", text_contest.answer_batch
    whole, made = evaluate_standard("gsm8k", evaluation), []

    def stopped(*given):
        if len(made) == 2:
            raise KeyboardInterrupt
        made.append(given)
        return answer(*given)

    monkeypatch.setattr(text_contest, "answer_batch", stopped)
    with pytest.raises(KeyboardInterrupt):
        evaluate_standard("gsm8k", evaluation, keep)
    monkeypatch.setattr(text_contest, "answer_batch", lambda *given: made.append(given) or answer(*given))
    resumed = evaluate_standard("gsm8k", evaluation, keep)
    assert len(made) == 4
    assert [replace(one, seconds=0) for one in resumed] == [replace(one, seconds=0) for one in whole]
    write(*SUMS[:1])
    with pytest.raises(ValueError, match=r"was begun with other settings \(changed: data\)"):
        evaluate_standard("gsm8k", evaluation, keep)
    with pytest.raises(ValueError, match=r"was begun with other settings \(changed: .*task"):
        evaluate_standard("alpaca_eval", evaluation_of(write({"instruction": KENYA})), keep)


def test_alpaca_eval_writes_what_its_tool_reads_and_asks_its_judge(write, tmp_path, monkeypatch, capsys):
    path = write({"dataset": "helpful_base", "instruction": KENYA}, {"instruction": "What is the capital of Chad?"})
    folder, reference, asked = tmp_path / "out", tmp_path / "reference.json", []
    reference.write_text("[]")
    tool = ModuleType("alpaca_eval")
    tool.evaluate = lambda **given: asked.append(given)
    monkeypatch.setitem(sys.modules, "alpaca_eval", tool)
    monkeypatch.setenv("OPENAI_API_KEY", "a key")
    written = evaluate_alpaca_eval(evaluation_of(path), JudgedOutputs(folder, True, reference))
    assert [file.relative_to(folder).as_posix() for file in written.values()] == [
        "planned-threshold-0.9-lookahead-3/model_outputs.json", "autoregressive/model_outputs.json",
    ]  # fmt: skip
    first, second = json.loads(written[PLANNED].read_text(encoding="utf-8"))
    assert first["dataset"] == "helpful_base" and first["instruction"] == KENYA and "Nairobi" in first["output"]
    assert first["generator"] == second["generator"] == f"{EMBEDDED.name}, {PLANNED}" and second["dataset"] == ""
    assert [one["model_outputs"] for one in asked] == [str(file) for file in written.values()]
    assert asked[0]["reference_outputs"] == str(reference) and asked[0]["output_path"] == str(written[PLANNED].parent)
    assert evaluate_alpaca_eval(evaluation_of(path, count=1), JudgedOutputs()) == {}
    shown = capsys.readouterr().out
    assert "alpaca_eval: 2 prompts" in shown and "with text" in shown


def test_what_the_judge_needs_is_said_first(tmp_path, monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with pytest.raises(ValueError, match="needs a key in OPENAI_API_KEY; set it, or leave --judge out"):
        JudgedOutputs(tmp_path, asks_judge=True)
    monkeypatch.setenv("OPENAI_API_KEY", "a key")
    monkeypatch.setitem(sys.modules, "alpaca_eval", None)
    with pytest.raises(RuntimeError, match="The judge of AlpacaEval is missing; run pip install alpaca-eval"):
        JudgedOutputs(tmp_path, asks_judge=True)
    with pytest.raises(ValueError, match="give --outputs FOLDER as well"):
        JudgedOutputs(asks_judge=True)
    with pytest.raises(ValueError, match="--reference is for the judge; give --judge as well"):
        JudgedOutputs(tmp_path, reference=tmp_path)
    with pytest.raises(ValueError, match="There is no file .*; give --reference answers in the tool's format"):
        JudgedOutputs(tmp_path, True, tmp_path / "no.json")
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match="is no folder; give --outputs another name"):
        JudgedOutputs(tmp_path / "file")


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("He pays $1,234.50.", "1234.5"), ("16 - 3 = 13, so 13 eggs", "13"), ("It is .5 or -7", "-7"), ("none", None),
        ("#### 18", "18"), ("-$3", "-3"), ("3.", "3"), ("1,000, then", "1000"),
    ],
)  # fmt: skip
def test_last_number(text, number):
    assert last_number(text) == (None if number is None else Decimal(number))


def test_gsm8k_of_the_published_answers_is_right():
    row = {"question": "?", "answer": "9 * 2 = $<<9*2=18>>18 every day.\n#### 18"}
    assert gsm8k_terms(row, row["answer"]) == {"right": (True, 1), "with a number": (True, 1)}
    assert gsm8k_terms(row, "It is 18.0 dollars.")["right"] == (True, 1)
    assert gsm8k_terms(row, "It is 18 of 19.")["right"] == (False, 1)
    assert gsm8k_terms(row, "")["with a number"] == (False, 1)


def test_ifeval_by_the_checks_of_lm_eval(write, capsys):
    pytest.importorskip(
        "lm_eval.tasks.ifeval.utils", reason="lm-eval is not installed: pip install 'planned-diffusion[lm-eval]'"
    )
    rows = (
        {"key": 1, "prompt": KENYA, "instruction_id_list": ["keywords:existence"],
         "kwargs": [{"keywords": ["Nairobi"]}]},
        {"key": 2, "prompt": KENYA, "instruction_id_list": ["punctuation:no_comma", "change_case:english_lowercase"],
         "kwargs": [{}, {}]},
    )  # fmt: skip
    evaluate_standard("ifeval", evaluation_of(write(*rows), as_json=True))
    for row in json.loads(capsys.readouterr().out)["results"]:
        scores = {name: found["value"] for name, found in row["scores"].items()}
        assert scores["prompts, strict"] == 0.5 and scores["instructions, strict"] == pytest.approx(1 / 3)
    bad = {**rows[0], "instruction_id_list": ["mood:cheerful"]}
    with pytest.raises(ValueError, match="line 1: its instruction 'mood:cheerful' is none of IFEval's; choose among"):
        evaluate_standard("ifeval", evaluation_of(write(bad)))


def test_ifeval_without_lm_eval_says_what_to_install(write, monkeypatch):
    monkeypatch.setitem(sys.modules, "lm_eval.tasks.ifeval.instructions_registry", None)
    monkeypatch.setitem(sys.modules, "lm_eval", None)
    row = {"prompt": "x", "instruction_id_list": ["a"], "kwargs": [{}]}
    with pytest.raises(RuntimeError, match=r"checks come with lm-eval; run pip install 'planned-diffusion\[lm-eval\]'"):
        evaluate_standard("ifeval", evaluation_of(write(row)))


@pytest.mark.parametrize(
    ("task", "row", "said"),
    [
        ("gsm8k", {"question": " ", "answer": "#### 1"}, "it has no question; give rows of GSM8K"),
        ("gsm8k", {"question": "?", "answer": "1"}, "its answer does not end in '####' and a number"),
        ("gsm8k", {"question": "?", "answer": "1 ####"}, "its answer does not end in '####' and a number"),
        ("ifeval", {"question": "?"}, "it has no prompt; give rows of IFEval"),
        (
            "ifeval",
            {"prompt": "?", "instruction_id_list": []},
            "its instruction_id_list and kwargs are no lists of one length",
        ),
        ("alpaca_eval", {"prompt": "?"}, "it has no instruction; give rows of AlpacaEval"),
    ],
)
def test_rows_that_are_refused_with_the_number_of_their_line(write, task, row, said):
    with pytest.raises(ValueError, match=f"line 1: {said}"):
        evaluate_standard(task, evaluation_of(write(row)))


def test_files_that_are_refused(write, tmp_path):
    with pytest.raises(ValueError, match="There is no file .*; give --prompts a JSONL file of the task's rows"):
        evaluate_standard("gsm8k", evaluation_of(tmp_path / "no.jsonl"))
    with pytest.raises(ValueError, match="holds no rows"):
        evaluate_standard("gsm8k", evaluation_of(write()))
    with pytest.raises(ValueError, match="decoding is 'telepathic'; choose one of"):
        evaluate_standard("gsm8k", evaluation_of(write(*SUMS), decoding="telepathic"))
