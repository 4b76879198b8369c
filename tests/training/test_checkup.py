"""The last line of a run compares before and after; what went wrong is said above it, and looking changes nothing."""

import math
import re

import pytest
import torch

from planned_diffusion.training import sft
from planned_diffusion.training.checkup import Checkup, Look, faults_between, may_look, shortened
from planned_diffusion.training.dataset import encode_records
from planned_diffusion.training.gradient_norms import GradientNorms


@pytest.fixture
def looked_at(trainer_for, records, tokenizer, control):
    """`looked_at(folder, **SFTConfig fields)`: trains a tiny model with a checkup; returns both."""

    def train(folder, **changes):
        trainer = trainer_for(folder, **changes)
        checkup = Checkup(trainer, encode_records(records, tokenizer, control), tokenizer)
        trainer.add_callback(checkup)
        trainer.train()
        return trainer, checkup

    return train


def test_looking_changes_no_weight_and_no_log(tmp_path, trainer_for, looked_at):
    plain = trainer_for(tmp_path, logging_steps=2)
    plain.train()
    trainer, checkup = looked_at(tmp_path, logging_steps=2)
    checkup.report()
    for name, weight in plain.model.state_dict().items():
        assert torch.equal(weight, trainer.model.state_dict()[name]), name
    timings = ("train_runtime", "train_samples_per_second", "train_steps_per_second")
    for one, other in zip(plain.state.log_history, trainer.state.log_history, strict=True):
        assert {key: one[key] for key in one if key not in timings} == {
            key: other[key] for key in other if key not in timings
        }


def test_the_loss_is_that_of_an_evaluation(tmp_path, trainer_for, looked_at):
    """Eight records: all that the tiny data have, so that the Trainer's own evaluation is the reference."""
    expected = trainer_for(tmp_path).evaluate()["eval_loss"]
    trainer, checkup = looked_at(tmp_path)
    assert checkup.before.loss == pytest.approx(expected, rel=1e-5)
    assert checkup._look().loss == pytest.approx(trainer.evaluate()["eval_loss"], rel=1e-5)


def test_norms_are_those_before_clipping(tmp_path, trainer_for):
    """With plain SGD and no clipping a step is the gradient times the learning rate."""
    norms = {}
    for most in (1e9, 1e-3):
        trainer = trainer_for(tmp_path, max_steps=1, optim="sgd", learning_rate=1.0, max_grad_norm=most)
        before = torch.cat([weight.detach().flatten().clone() for weight in trainer.model.parameters()])
        trainer.train()
        moved = torch.cat([weight.detach().flatten() for weight in trainer.model.parameters()]) - before
        trainer.gradient_norms._fetch()
        norms[most] = (trainer.gradient_norms._norms, moved.norm().item())
    [norm], moved = norms[1e9]
    assert norm == pytest.approx(moved, rel=1e-4)
    assert norms[1e-3][0] == pytest.approx([norm], rel=1e-6) and norms[1e-3][1] == pytest.approx(1e-3, rel=1e-2)


def test_the_script_ends_with_the_comparison(workspace, capsys):
    assert sft.main(["--config", "recipe.yaml", "--learning_rate", "0.01"]) == 0
    out, err = capsys.readouterr()
    last = out.splitlines()[-1]
    assert re.fullmatch(
        r'Step 0 to 4: loss [\d.]+ -> [\d.]+ on 8 records; ".*What is an aurora\?.*" was .*, now ".*"\.', last
    )
    assert "warning: " not in err
    first, then = map(float, re.findall(r"loss ([\d.]+) -> ([\d.]+)", last)[0])
    assert then < first


def test_a_run_that_changed_nothing_says_so(workspace, capsys):
    assert sft.main(["--config", "recipe.yaml", "--learning_rate", "0"]) == 0
    err = capsys.readouterr().err
    assert "warning: Training changed nothing: the loss is" in err and "look at learning_rate" in err


def test_a_run_that_broke_the_model_says_so(workspace, capsys):
    assert sft.main(["--config", "recipe.yaml", "--learning_rate", "1e30", "--lr_scheduler_type", "constant"]) == 0
    out, err = capsys.readouterr()
    assert "warning: The loss is nan after training, so the model is broken; lower learning_rate." in err
    assert re.search(r"warning: The gradient was infinite or no number in \d of 4 steps", err)
    assert out.splitlines()[-1].endswith("-> nan on 8 records.")


@pytest.mark.slow
def test_a_gated_adapter_is_compared_by_its_loss_alone(workspace, capsys):
    assert sft.main(["--config", "recipe.yaml", "--output_dir", "base", "--max_steps", "1"]) == 0
    capsys.readouterr()
    recipe = (workspace / "recipe.yaml").read_text()
    (workspace / "drafter.yaml").write_text(
        recipe.replace("from_scratch: scratch.yaml\n", "").replace("tokenizer: tokenizer\n", "")
    )
    options = ["--model", "base", "--use_peft", "true", "--lora_gated", "true", "--draft_weight", "1"]
    assert sft.main(["--config", "drafter.yaml", *options]) == 0
    assert re.fullmatch(r"Step 0 to 4: loss .* on 8 records\.", capsys.readouterr().out.splitlines()[-1])


def test_sharded_weights_write_no_text(tmp_path, trainer_for, records, tokenizer, control):
    examples = encode_records(records, tokenizer, control)
    trainer = trainer_for(tmp_path)
    assert Checkup(trainer, examples, tokenizer).prompts
    trainer.is_fsdp_enabled = True
    checkup = Checkup(trainer, examples, tokenizer)
    assert not checkup.prompts and checkup._look().answer is None and math.isfinite(checkup._look().loss)


def test_weights_in_4_bits_are_not_looked_at_on_a_cpu(tmp_path, trainer_for, records, tokenizer, control, capsys):
    assert not may_look("nf4", on_cpu=True) and not may_look("fp4", on_cpu=True)
    assert may_look("nf4", on_cpu=False) and may_look("int8", on_cpu=True) and may_look(None, on_cpu=True)
    trainer = trainer_for(tmp_path)
    Checkup(trainer, encode_records(records, tokenizer, control), tokenizer).report()  # which saw no beginning
    assert (
        capsys.readouterr().out == "Before and after were not compared: on a CPU that would spoil weights in 4 bits.\n"
    )


BEFORE = Look(0, 2.0, "a", (4, 4))


@pytest.mark.parametrize(
    ("after", "said"),
    [
        (Look(9, 1.0, "b", (4, 4)), []),
        (Look(9, 1.0, "a", (4, 4)), []),
        (Look(9, 2.0, "a", (4, 4)), ["Training changed nothing"]),
        (Look(9, 2.0, "b", (4, 4)), []),
        (Look(9, 3.0, "b", (4, 4)), ["The loss rose from 2 to 3"]),
        (Look(9, math.nan, None, (0, 0)), ["The loss is nan after training"]),
        (Look(9, math.inf, None, (0, 0)), ["The loss is inf after training"]),
        (Look(9, 1.0, "b", (1, 4)), ["Plans stopped being well formed: 4 of 4 were before, 1 are now"]),
    ],
)
def test_what_became_of_a_model(after, said):
    found = faults_between(BEFORE, after)
    assert len(found) == len(said) and all(map(str.startswith, found, said))


def test_a_model_that_learns_to_plan_is_healthy():
    assert faults_between(Look(0, 2.0, "", (0, 4)), Look(9, 1.0, "a", (3, 4))) == []


@pytest.mark.parametrize(
    ("norms", "said"),
    [
        ([], []),
        ([1.0, None, 2.0], []),
        ([1.0] * 20, []),
        ([1.0] * 7 + [500.0], ["The gradient exploded: its norm was 500 in step 8, and mostly 1"]),
        ([500.0] + [1.0] * 6, []),  # too few to tell
        ([1.0] * 10 + [30.0] * 10, ["The gradient exploded: its norm grew from 1 to 30"]),
        ([30.0] * 10 + [1.0] * 10, []),  # it shrank
        ([0.0] * 3, ["The gradient was 0 in 3 of 3 steps"]),
        ([1.0, math.nan, math.inf], ["The gradient was infinite or no number in 2 of 3 steps"]),
        ([0.0] * 20, ["The gradient was 0 in 20 of 20 steps"]),
    ],
)
def test_gradients(norms, said):
    seen = GradientNorms()
    for step, norm in enumerate(norms, start=1):
        for _ in range(2):  # the Trainer tells the last step of an epoch twice
            seen.add(step, norm if norm is None else torch.tensor(norm))
    assert len(seen.faults()) == len(said) and all(map(str.startswith, seen.faults(), said))


def test_a_healthy_long_run_is_fetched_in_parts():
    seen = GradientNorms()
    for step in range(250):
        seen.add(step + 1, torch.tensor(1.0 + step % 7))
        assert len(seen._on_device) < 100
    assert len(seen._norms) == 200 and seen.faults() == [] and len(seen._norms) == 250


def test_a_shown_text_is_one_harmless_line():
    assert shortened("a\n\x1b[31mb\tc") == '"a \N{REPLACEMENT CHARACTER}[31mb c"'
    assert len(shortened("word " * 99)) == 72 and shortened("word " * 99).endswith('..."')
