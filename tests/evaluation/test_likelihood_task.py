"""`evaluate --task likelihood` on the included model: scores, resuming, what it prints, what it refuses."""

import json
from dataclasses import replace

import pytest

from planned_diffusion.evaluation import likelihood_task
from planned_diffusion.evaluation.likelihood import likelihoods
from planned_diffusion.evaluation.likelihood_task import LikelihoodEvaluation, evaluate_likelihood
from planned_diffusion.inference.answer import ask
from planned_diffusion.loading.embedded import EMBEDDED

QUESTION = "What are the capital and the currency of Kenya?"
CAPITAL = "What is the capital of Kenya?"
TRUE = "The capital city of Kenya, as any atlas will show, is Nairobi."
FALSE = TRUE.replace("Nairobi", "Lima")
FACTS = str(EMBEDDED)


@pytest.fixture(scope="module")
def own_answer(facts_checkpoint):
    """The model's own planned answer, as a training record has it."""
    answer = ask(facts_checkpoint, QUESTION, {"keep_plan": True, "max_new_tokens": 80})
    return answer.text.replace("[PAD]", "").removesuffix("<|end|>")


@pytest.fixture
def file(own_answer, tmp_path):
    rows = [
        {"messages": [{"role": "user", "content": QUESTION}, {"role": "assistant", "content": own_answer}]},
        {"prompt": CAPITAL, "answer": TRUE},
        {"question": CAPITAL, "output": FALSE},
        {"prompt": QUESTION, "response": own_answer.replace("Nairobi", "purple")},
    ]
    path = tmp_path / "answers.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture
def opened(monkeypatch, facts_checkpoint):
    monkeypatch.setattr(likelihood_task, "open_checkpoint", lambda name: facts_checkpoint)


def test_scores_and_what_is_printed(opened, file, facts_checkpoint, capsys):
    scores = evaluate_likelihood(LikelihoodEvaluation(FACTS, file, samples=16))
    own, true, false, other = scores
    assert own.bound > other.bound + 5 * own.error and true.left_to_right > false.left_to_right
    assert (true.bound, true.error) == (None, None) and own.planned_tokens > own.tokens
    [text] = likelihoods(facts_checkpoint, [(CAPITAL, TRUE)])
    assert true.tokens == text.tokens + 1 and true.left_to_right < text.total  # with its end
    shown = " ".join(capsys.readouterr().out.split())  # lines are broken where they are long
    for text in ("planned answers, bound as planned", "planned answers, left to right", "plain answers", "samples: 16"):
        assert text in shown
    evaluate_likelihood(LikelihoodEvaluation(FACTS, file, count=2, samples=16, as_json=True))
    told = json.loads(capsys.readouterr().out)
    assert [row["answers"] for row in told["results"]] == [1, 1, 1] and len(told["records"]) == 2
    assert told["results"][0]["error"] == pytest.approx(own.error) and told["results"][1]["error"] == 0


def test_a_run_that_was_stopped_continues_to_the_same_result(opened, file, monkeypatch, tmp_path):
    evaluation, keep, score = (
        LikelihoodEvaluation(FACTS, file, samples=4),
        tmp_path / "kept.jsonl",
        likelihood_task._score,
    )
    whole, done = evaluate_likelihood(evaluation), []

    def stopped(*given):
        if len(done) == 2:
            raise KeyboardInterrupt
        done.append(given)
        return score(*given)

    monkeypatch.setattr(likelihood_task, "_score", stopped)
    with pytest.raises(KeyboardInterrupt):
        evaluate_likelihood(evaluation, keep)
    assert len(keep.read_text(encoding="utf-8").splitlines()) == 1 + 2
    done.clear()
    monkeypatch.setattr(likelihood_task, "_score", lambda *given: done.append(given) or score(*given))
    assert evaluate_likelihood(evaluation, keep) == whole and len(done) == 2
    with pytest.raises(ValueError, match=r"was begun with other settings \(changed: samples\)"):
        evaluate_likelihood(replace(evaluation, samples=8), keep)


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"prompt": "Hi"}, "line 1: it has neither messages nor answer, response, output; give one of them"),
        ({"answer": "Hi"}, "line 1: it has none of prompt, messages, instruction and question"),
        ({"prompt": "Hi", "answer": "<async>x"}, "line 1: <async> is never closed"),
        ({"prompt": "Hi", "answer": ""}, "line 1: The assistant's answer is empty"),
        (
            {"prompt": "Hi", "answer": f"<promise>-<topic>a 1</topic><async>{'word ' * 9}</async>"},
            "line 1: The span 'a' has .* tokens, and its promise of 1 is room for 8; promise at least",
        ),
    ],
)
def test_refused_with_the_number_of_the_line(opened, row, said, tmp_path):
    path = tmp_path / "bad.jsonl"
    path.write_text(json.dumps(row) + "\n", encoding="utf-8")
    with pytest.raises(ValueError, match=said):
        evaluate_likelihood(LikelihoodEvaluation(FACTS, path))


def test_refused(opened, tmp_path):
    with pytest.raises(ValueError, match="There is no file"):
        evaluate_likelihood(LikelihoodEvaluation(FACTS, tmp_path / "missing"))
    (tmp_path / "empty.jsonl").touch()
    with pytest.raises(ValueError, match="holds no records"):
        evaluate_likelihood(LikelihoodEvaluation(FACTS, tmp_path / "empty.jsonl"))
    with pytest.raises(ValueError, match="samples is 1; give an even number"):
        LikelihoodEvaluation(FACTS, tmp_path, samples=1)
    with pytest.raises(ValueError, match="count is 0; give 1 or more"):
        LikelihoodEvaluation(FACTS, tmp_path, count=0)
