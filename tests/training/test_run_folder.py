"""Where a run may write, and which checkpoint it goes on from."""

import json
from pathlib import Path

import pytest
import yaml
from safetensors.torch import load_file

from planned_diffusion.training import sft
from planned_diffusion.training.run_folder import fault_of

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
