"""`metric_for_best_model`: every metric that evaluations give, obeyed; other names are refused before training."""

import json

import pytest

from planned_diffusion.training import sft
from planned_diffusion.training.best_metric import metrics_of
from planned_diffusion.training.dataset import encode_records
from planned_diffusion.training.objective import Objective
from planned_diffusion.training.samples import SampleAnswers

EVALUATING = ["--config", "recipe.yaml", "--eval_file", "train.jsonl", "--eval_strategy", "steps", "--eval_steps", "1"]
SPEED = {"runtime", "samples_per_second", "steps_per_second"}


@pytest.fixture
def trained(workspace, monkeypatch):
    """`trained(*options)`: the trainer of a run of the script that evaluates after each of two steps."""
    trainers = []
    monkeypatch.setattr(sft, "leave_the_process_group", trainers.append)

    def train(*options):
        assert sft.main([*EVALUATING, "--max_steps", "2", "--samples", "1", *options]) == 0
        return trainers[-1]

    return train


@pytest.mark.slow
@pytest.mark.parametrize(
    ("chosen", "samples"),
    [(slice(None), 2), (slice(None), 0), (slice(0, 2), 1), (slice(2, 3), 1), (slice(0, 2), 0)],
    ids=["all", "all, no samples", "tagged", "plain", "tagged, no samples"],
)
@pytest.mark.parametrize("weights", [{}, {"span_next_token_weight": 0.5}, {"draft_weight": 0.5}])
def test_the_names_are_those_of_a_real_evaluation(
    chosen, samples, weights, trainer_for, records, tokenizer, control, tmp_path
):
    objective = Objective(**weights, complementary_masks=False)
    trainer = trainer_for(tmp_path, objective=objective)
    examples = encode_records(records[chosen], tokenizer, control)
    trainer.eval_dataset = trainer.eval_dataset.select(range(len(records))[chosen])
    if samples:
        trainer.add_callback(SampleAnswers(trainer, examples[:samples], tokenizer))
    given = {name.removeprefix("eval_") for name in trainer.evaluate()} - SPEED - {"epoch", "model_preparation_time"}
    assert set(metrics_of(examples, objective, samples)) == given


@pytest.mark.slow
@pytest.mark.parametrize("metric", ["plan_loss", "well_formed", "room_used"])
def test_each_metric_chooses_the_best_checkpoint(metric, trained):
    trainer = trained("--metric_for_best_model", metric, "--save_strategy", "best", "--load_best_model_at_end", "true")
    values = [entry[f"eval_{metric}"] for entry in trainer.state.log_history if f"eval_{metric}" in entry]
    assert len(values) == 2
    assert trainer.state.best_metric == (min(values) if metric.endswith("loss") else max(values))


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["eval_accuracy"], "metric_for_best_model is eval_accuracy, which the evaluations of this run do not give;"),
        (["accuracy"], "choose from loss, plan_loss, span_loss, plain_loss, well_formed, room_used"),
        (["next_token_loss"], "metric_for_best_model is next_token_loss, which"),
        (["well_formed", "--samples", "0"], "is well_formed, which .* loss, plan_loss, span_loss, plain_loss[.]"),
        (["plain_loss", "--eval_file", "tagged.jsonl"], "is plain_loss, which .* loss, plan_loss, span_loss, well"),
        (["loss", "--eval_strategy", "no"], "metric_for_best_model is loss and nothing is evaluated"),
    ],
)  # fmt: skip
def test_a_metric_that_no_evaluation_gives_is_refused_before_training(options, complaint, workspace, records):
    (workspace / "tagged.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records[:2]))
    with pytest.raises(ValueError, match=complaint):
        sft.main([*EVALUATING, "--metric_for_best_model", *options])
    assert not (workspace / "out").exists()
