"""The checkpoint that ships with the package: right answers, few forwards, and the README's example."""

import re
from pathlib import Path

import pytest
from transformers import AutoModelForCausalLM, AutoTokenizer

from planned_diffusion import PlannedDiffusionForCausalLM
from planned_diffusion.evaluation.measure import HELD_OUT_SEED, Evaluation, answer_questions, summarise_answers
from planned_diffusion.evaluation.systems import evaluate_systems
from planned_diffusion.evaluation.variants import SYSTEMS
from planned_diffusion.facts.generator import held_out_questions
from planned_diffusion.loading.embedded import EMBEDDED

ROOT = Path(__file__).resolve().parents[2]
PROMPTS = 24
RIGHT = 0.95  # of the facts; a floor for a few prompts, the README's table has the measured share of 500


@pytest.fixture(scope="module")
def model():
    """In float32: the answers of the bfloat16 weights, and fast on every CPU."""
    return PlannedDiffusionForCausalLM.from_pretrained(EMBEDDED, dtype="float32").eval()


@pytest.fixture(scope="module")
def tokenizer():
    return AutoTokenizer.from_pretrained(EMBEDDED)


@pytest.fixture(scope="module")
def measured(model, tokenizer):
    questions = held_out_questions(PROMPTS, HELD_OUT_SEED)
    names = ("planned, ratio 1", "planned, threshold 0.9", "autoregressive")
    return {
        name: summarise_answers(name, list(answer_questions(model, tokenizer, questions, 8, **SYSTEMS[name])), 1.0)
        for name in names
    }


@pytest.mark.slow
def test_facts_are_right(measured):
    assert {name: row.facts_right for name, row in measured.items() if row.facts_right < RIGHT} == {}


@pytest.mark.slow
def test_planning_saves_forwards(measured):
    planned, left_to_right = measured["planned, threshold 0.9"], measured["autoregressive"]
    assert planned.many_parts_forwards < 0.55 * left_to_right.many_parts_forwards


def test_a_comparison_takes_two_rounds(model, tokenizer):
    inputs = tokenizer("Do Kenya and Uganda use the same currency?", return_tensors="pt")
    out = model.generate(inputs["input_ids"], return_dict_in_generate=True)
    assert [len(spans) for spans in out.plans[0]] == [2, 1]
    assert out.ended == ["eos"] and out.trace[0].commits == 1


def test_the_chat_template_and_a_bare_text_give_the_same_ids(tokenizer):
    chat = [{"role": "user", "content": "What is the capital of Kenya?"}]
    templated = tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_dict=False)
    assert templated == tokenizer("What is the capital of Kenya?")["input_ids"]


def test_auto_classes_and_decoding_defaults(model):
    loaded = AutoModelForCausalLM.from_pretrained(EMBEDDED, dtype="auto")
    assert type(loaded) is PlannedDiffusionForCausalLM
    assert loaded.generation_config.confidence_threshold == 0.9 and loaded.generation_config.do_sample is False


def test_size(model):
    weights = EMBEDDED / "model.safetensors"
    assert weights.stat().st_size <= 24e6 and 4e6 <= model.num_parameters() <= 12e6


def test_the_table_command(capsys):
    rows = evaluate_systems(Evaluation(count=4, batch_size=2), "autoregressive")
    assert rows[0].answers == 4
    assert "4 held-out facts prompts" in capsys.readouterr().out
    with pytest.raises(ValueError, match="decoding is 'magic'; choose one of planned, autoregressive"):
        evaluate_systems(Evaluation(count=4), "magic")
    with pytest.raises(ValueError, match="count is 0"):
        Evaluation(count=0)


def test_the_readme_example_runs(capsys, monkeypatch):
    monkeypatch.chdir(ROOT)
    (example,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    exec(compile(example, "README.md", "exec"), {})
    printed = capsys.readouterr().out
    assert "Nairobi" in printed and "Kenyan shilling" in printed and "forwards for" in printed
