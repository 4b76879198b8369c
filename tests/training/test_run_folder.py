"""Where a run may write, and which checkpoint it goes on from."""

import json
import signal
from pathlib import Path

import pytest
import yaml
from safetensors.torch import load_file

from planned_diffusion.training import sft
from planned_diffusion.training.run_folder import fault_of, missing_state

SAVING = ["--config", "recipe.yaml", "--save_strategy", "steps", "--save_steps", "2"]


def cut(path, share=0.5):
    content = Path(path).read_bytes()
    Path(path).write_bytes(content[: int(share * len(content))])


@pytest.mark.parametrize("file", ["config.json", "adapter_config.json", "model-00001-of-00002.safetensors"])
def test_an_earlier_run_is_never_written_over(file, workspace):
    Path("out").mkdir()
    Path("out", file).write_text("{}")
    for options in ([], ["--resume_from_checkpoint", "auto"]):
        with pytest.raises(ValueError, match=f"out holds {file} of an earlier run; give another output_dir or delete"):
            sft.main(["--config", "recipe.yaml", *options])


@pytest.mark.parametrize("spelling", ["base", "./base/", "link"])
def test_the_models_own_folder_is_never_written_over(spelling, workspace):
    Path("base").mkdir()
    Path("base/config.json").write_text('{"model_type": "planned_diffusion"}')
    Path("link").symlink_to("base")
    recipe = yaml.safe_load(Path("recipe.yaml").read_text())
    Path("tune.yaml").write_text(yaml.safe_dump({**recipe, "from_scratch": None, "model": "base"}))
    with pytest.raises(ValueError, match="is the folder of the model, which would be lost"):
        sft.main(["--config", "tune.yaml", "--output_dir", spelling])


@pytest.mark.parametrize("folder", ["train.jsonl", "train.jsonl/deeper", "/proc/runs"])
def test_a_folder_that_cannot_be_written_is_refused_before_anything_is_loaded(folder, workspace):
    with pytest.raises(ValueError, match=f"output_dir {folder} cannot be written"):
        sft.main(["--config", "recipe.yaml", "--output_dir", folder])


@pytest.fixture
def whole(workspace):
    """Folder "out" of a finished run with checkpoints 2 and 4; the weights that it saved."""
    assert sft.main([*SAVING, "--resume_from_checkpoint", "auto"]) == 0  # the first job of a Slurm script
    return load_file("out/model.safetensors")


def test_the_newest_whole_checkpoint_is_resumed(whole, capsys):
    with pytest.raises(ValueError, match="out holds config.json .* or go on from its last checkpoint"):
        sft.main(SAVING)
    cut("out/checkpoint-4/model.safetensors")
    for asked in ("true", "auto"):  # after a requeue, and again where the run had finished
        assert sft.main([*SAVING, "--resume_from_checkpoint", asked]) == 0
        again = load_file("out/model.safetensors")
        assert all((again[key] == whole[key]).all() for key in whole)
    warnings = [line for line in capsys.readouterr().err.splitlines() if line.startswith("warning")]
    skipped = "warning: skipped incomplete checkpoints (checkpoint-4: model.safetensors is cut off); resuming from out/"
    assert warnings == [skipped + "checkpoint-2."]


@pytest.mark.parametrize(
    ("file", "fault"),
    [
        ("trainer_state.json", "trainer_state.json is missing or broken"),
        ("model.safetensors", "model.safetensors is cut off"),
        ("optimizer.pt", "optimizer.pt is cut off"),
        ("scheduler.pt", "scheduler.pt is cut off"),
        ("rng_state.pth", "rng_state.pth is cut off"),
    ],
)
def test_torn_checkpoints(file, fault, whole, capsys):
    checkpoint = Path("out/checkpoint-4")
    assert fault_of(checkpoint) is None
    for share in (0.99, 0.5, 0):
        cut(checkpoint / file, share)
        assert fault_of(checkpoint) == fault
    with pytest.raises(ValueError, match=f"out/checkpoint-4 is not whole .{fault}.; resume from an earlier one"):
        sft.main([*SAVING, "--resume_from_checkpoint", str(checkpoint)])
    Path("out/checkpoint-2/model.safetensors").unlink()
    with pytest.raises(ValueError, match=f"No checkpoint in out is whole .checkpoint-4: {fault}; checkpoint-2: its we"):
        sft.main([*SAVING, "--resume_from_checkpoint", "true"])


STATES = {
    "optimizer.pt": "it holds no optimizer state, as with save_only_model",
    "scheduler.pt": "it holds no scheduler state",
    "rng_state.pth": "it holds no state of the random numbers",
    "trainer_state.json": "trainer_state.json names no step",
}


@pytest.mark.slow
@pytest.mark.parametrize("file", STATES)
def test_a_checkpoint_without_a_state_is_not_resumed(file, whole, capsys):
    """Its weights are whole, but a run from it would end with others than an uninterrupted one."""

    def spoil(checkpoint):
        Path(checkpoint, file).unlink() if file != "trainer_state.json" else Path(checkpoint, file).write_text("{}")
        assert fault_of(Path(checkpoint)) is None and missing_state(Path(checkpoint)) == STATES[file]

    assert missing_state(Path("out/checkpoint-4")) is None
    spoil("out/checkpoint-4")
    remedy = "; to train on from its weights alone, begin a new run with its folder as model and another output_dir."
    with pytest.raises(ValueError, match=f"out/checkpoint-4 cannot be resumed .{STATES[file]}.{remedy}"):
        sft.main([*SAVING, "--resume_from_checkpoint", "out/checkpoint-4"])
    assert sft.main([*SAVING, "--resume_from_checkpoint", "auto"]) == 0
    skipped = f"warning: skipped incomplete checkpoints (checkpoint-4: {STATES[file]}); resuming from out/checkpoint-2."
    assert skipped in capsys.readouterr().err.splitlines()
    again = load_file("out/model.safetensors")
    assert all((again[key] == whole[key]).all() for key in whole)
    spoil("out/checkpoint-2")
    spoil("out/checkpoint-4")
    for asked in ("true", "auto"):
        with pytest.raises(
            ValueError, match=f"No checkpoint in out can be resumed .checkpoint-4: {STATES[file]}; check"
        ):
            sft.main([*SAVING, "--resume_from_checkpoint", asked])
    with pytest.raises(ValueError, match="give another output_dir or delete that one.$"):  # not: go on from it
        sft.main(SAVING)


def test_a_run_that_saves_weights_alone_says_at_an_interruption_that_none_goes_on(workspace, capsys, monkeypatch):
    on_train_begin = sft.SaveOnInterrupt.on_train_begin

    def interrupted(self, *args, **kwargs):
        on_train_begin(self, *args, **kwargs)
        signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(sft.SaveOnInterrupt, "on_train_begin", interrupted)
    assert sft.main([*SAVING, "--save_only_model", "true"]) == 130
    told = capsys.readouterr().err
    assert "saved out/checkpoint-1. It holds the weights alone (save_only_model), so no run can go on from it." in told
    with pytest.raises(ValueError, match="checkpoint-1: it holds no optimizer state, as with save_only_model"):
        sft.main([*SAVING, "--resume_from_checkpoint", "true"])
    write = yaml.safe_load(Path("recipe.yaml").read_text()) | {"model": "out/checkpoint-1", "output_dir": "next"}
    Path("next.yaml").write_text(yaml.safe_dump({**write, "from_scratch": None, "tokenizer": None}))
    monkeypatch.undo()
    monkeypatch.chdir(workspace)
    assert sft.main(["--config", "next.yaml"]) == 0  # as the sentence says


def test_another_number_of_processes_is_said(whole, capsys):
    Path("out/checkpoint-2/rng_state.pth").rename("out/checkpoint-2/rng_state_0.pth")
    Path("out/checkpoint-2/rng_state_1.pth").write_bytes(Path("out/checkpoint-2/rng_state_0.pth").read_bytes())
    assert sft.main([*SAVING, "--resume_from_checkpoint", "out/checkpoint-2"]) == 0
    assert "warning: out/checkpoint-2 was saved by 2 processes and is resumed by 1: random" in capsys.readouterr().err


def test_a_first_checkpoint_that_was_cut_off_begins_anew(workspace, capsys):
    Path("out/checkpoint-2").mkdir(parents=True)
    assert sft.main([*SAVING, "--resume_from_checkpoint", "auto"]) == 0
    assert "(checkpoint-2: trainer_state.json is missing or broken); beginning anew." in capsys.readouterr().err


def test_sharded_weights_are_whole_with_all_their_shards(whole):
    checkpoint = Path("out/checkpoint-4")
    index = {"weight_map": {"a": "model.safetensors", "b": "model-00002-of-00002.safetensors"}}
    (checkpoint / "model.safetensors.index.json").write_text(json.dumps(index))
    assert fault_of(checkpoint) == "model-00002-of-00002.safetensors is missing"


def test_weights_of_fsdp_are_whole_with_their_table_of_contents(tmp_path):
    (tmp_path / "trainer_state.json").write_text("{}")
    (tmp_path / "pytorch_model_fsdp_0").mkdir()
    (tmp_path / "pytorch_model_fsdp_0" / "__0_0.distcp").touch()
    assert fault_of(tmp_path) == "pytorch_model_fsdp_0/__0_0.distcp is cut off"
    (tmp_path / "pytorch_model_fsdp_0" / ".metadata").touch()
    assert fault_of(tmp_path) is None
