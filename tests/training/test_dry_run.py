"""A dry run says what the run will do, and leaves no trace of itself."""

import re
from pathlib import Path

import pytest
import torch

from planned_diffusion.training import dry_run, sft
from planned_diffusion.training.batch_text import BLANK, batch_lines
from planned_diffusion.training.run_memory import activations_of, memory_lines, memory_parts
from planned_diffusion.training.trainer import PlannedDiffusionTrainer

DRY = ["--config", "recipe.yaml", "--dry_run"]


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def test_nothing_is_written_and_no_step_is_taken(workspace, capsys, monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("a step was taken")

    monkeypatch.setattr(PlannedDiffusionTrainer, "training_step", refuse)
    before = files(workspace)
    assert sft.main(DRY) == 0
    assert files(workspace) == before
    out = capsys.readouterr().out
    for line in (
        "Dry run: no step is taken, and nothing is written.",
        "data     8 records: 6 with plans, 2 plain; 2.0 rounds and 2.7 spans per plan, at most 2 side by side; ",
        "steps    4, 4 per epoch; 2 records a step (2 together, 1 accumulated, 1 process); learning rate 2e-05, linear",
        "A run would write to out.",
    ):
        assert line in out
    assert re.search(r"tags     <promise>-<topic> \d+, .*; a promised 1 is 4 tokens; attention of spans \w+", out)
    assert re.search(r"memory   [\d.]+ [kM]B, computed: weights 154 kB, gradients 154 kB, optimizer 308 kB, activ", out)


def test_the_first_batch_and_the_steps_are_those_of_the_run(workspace, monkeypatch, capsys):
    """The run itself is the reference: the batch that its first step gets, and the steps that it counts."""
    shown, seen = [], []
    monkeypatch.setattr(dry_run, "batch_lines", lambda batch, *_: shown.append(batch) or [])
    step = PlannedDiffusionTrainer.training_step

    def watched(self, model, inputs, *more, **named):
        seen.append((self.state.max_steps, {name: value.clone() for name, value in inputs.items()}))
        return step(self, model, inputs, *more, **named)

    monkeypatch.setattr(PlannedDiffusionTrainer, "training_step", watched)
    options = ["--max_steps", "-1", "--num_train_epochs", "1.5", "--gradient_accumulation_steps", "3", "--seed", "5"]
    assert sft.main([*DRY, *options]) == 0
    steps = int(re.search(r"^steps +(\d+),", capsys.readouterr().out, re.MULTILINE)[1])
    assert sft.main(["--config", "recipe.yaml", *options]) == 0
    assert seen[0][0] == steps
    assert shown[0].keys() == seen[0][1].keys()
    assert all(torch.equal(shown[0][name], value) for name, value in seen[0][1].items())


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["--max_steps", "-1", "--num_train_epochs", "0"], "There is no step to train; give more records"),
        (["--train_file", "absent.jsonl"], "no file absent.jsonl"),
        (["--shuffle_dataset", "true"], "shuffle_dataset is True"),
    ],
)
def test_it_refuses_as_the_run_does(options, complaint, workspace):
    with pytest.raises(ValueError, match=complaint):
        sft.main([*DRY, *options])


def test_it_refuses_the_folder_of_another_run(workspace):
    Path("out").mkdir()
    Path("out/config.json").write_text("{}")
    with pytest.raises(ValueError, match="output_dir out holds config.json of an earlier run"):
        sft.main(DRY)


def test_a_batch_reads_as_text(tmp_path, trainer_for, tokenizer, control):
    """Streams are what the collator drew: blanks where the noisy copy is masked, the clean one word for word."""
    trainer = trainer_for(tmp_path, train_sampling_strategy="sequential", per_device_train_batch_size=4)
    batch = next(iter(trainer.get_train_dataloader()))
    header, *lines = batch_lines(batch, tokenizer, control)
    rows, length = batch["input_ids"].shape
    assert header.startswith(f"batch    {rows} lines of {length} tokens, ") and "for plan_loss" in header
    assert sum(line.startswith("  example") for line in lines) == 3
    noisy = [line.split(maxsplit=1)[1] for line in lines if line.startswith("    noisy")]
    first = (batch["stream"][0] == 1) & (batch["document"][0] == 1)
    masked = int((batch["input_ids"][0][first] == control.mask).sum())
    assert noisy[0].count(BLANK) == masked and noisy[0].startswith("<async>")
    clean = next(line for line in lines if line.startswith("    clean"))
    assert "What is an aurora?" in clean and "\\n" in clean and "<promise>-<topic>cause 3</topic>" in clean


def test_what_a_terminal_would_obey_is_escaped(tokenizer, control):
    ids = tokenizer("a\x1b[31m\nb", add_special_tokens=False)["input_ids"]
    batch = {
        "input_ids": torch.tensor([[*ids, control.mask]]),
        "document": torch.ones(1, len(ids) + 1, dtype=torch.long),
        "stream": torch.zeros(1, len(ids) + 1, dtype=torch.long),
        "loss_part_targets": torch.tensor([0, 0, 0, 3, 0]),
    }
    assert list(batch_lines(batch, tokenizer, control)) == [
        f"batch    1 lines of {len(ids) + 1} tokens, 0% padding; learns 3 for plain_loss",
        "  example 1",
        f"    clean   a\\x1b[31m\\nb{BLANK}",
    ]


def test_memory_is_counted(tmp_path, trainer_for, monkeypatch):
    trainer = trainer_for(tmp_path)
    batch = next(iter(trainer.get_train_dataloader()))
    parts = memory_parts(trainer.model, trainer.args, batch)
    numbers = sum(weight.numel() for weight in trainer.model.parameters())
    assert parts["weights"] == parts["gradients"] == 4 * numbers and parts["optimizer"] == 8 * numbers
    state = sum(
        value.numel() * value.element_size()
        for value in stepped(trainer).state_dict()["state"][0].values()
        if value.numel() > 1
    )
    assert 8 * next(iter(trainer.model.parameters())).numel() == state  # as Adam really keeps it
    trainer.args.gradient_checkpointing = True
    tokens = batch["input_ids"].numel()
    assert activations_of(trainer.model, trainer.args, tokens) < parts["activations"]
    monkeypatch.setattr("planned_diffusion.training.run_memory.machine_memory", lambda: 1000)
    assert [line.split()[0] for line in memory_lines(trainer.model, trainer.args, batch)] == ["memory", "warning:"]


def stepped(trainer):
    trainer.args.max_steps = 1
    trainer.train()
    return trainer.optimizer
