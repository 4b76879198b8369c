"""Two gloo processes equal one: the loss is normalised over all of them, and sharded checkpoints resume exactly."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml

from planned_diffusion.modeling_planned_diffusion import PlannedDiffusionForCausalLM
from planned_diffusion.training import sft

pytestmark = pytest.mark.slow
FSDP2 = {
    "fsdp": "full_shard",
    "fsdp_config": {
        "fsdp_version": 2,
        "version": 2,
        "auto_wrap_policy": "TRANSFORMER_BASED_WRAP",
        "transformer_layer_cls_to_wrap": ["Qwen2DecoderLayer"],
        "reshard_after_forward": True,
    },
}
SCRIPT = ["-m", "planned_diffusion.training.sft"]
ON_SHARDS = [str(Path(__file__).parent / "fsdp_on_cpu.py")]


@pytest.fixture
def one(workspace):
    """Folder "one", trained by one process on batches of 8; returns the recipe."""
    recipe = yaml.safe_load(Path("recipe.yaml").read_text())
    recipe |= {"learning_rate": 1e-3, "train_sampling_strategy": "sequential"}
    recipe |= {"save_strategy": "steps", "save_steps": 2}
    Path("one.yaml").write_text(yaml.safe_dump({**recipe, "per_device_train_batch_size": 8, "output_dir": "one"}))
    assert sft.main(["--config", "one.yaml"]) == 0
    return recipe


def by_two_processes(program, recipe, folder, *options, **changes):
    """Trains with 2 processes of batches of 4; returns the weights."""
    Path("two.yaml").write_text(
        yaml.safe_dump({**recipe, **changes, "per_device_train_batch_size": 4, "output_dir": folder})
    )
    launch = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", "--standalone", *program]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    result = subprocess.run(
        [*launch, "--config", "two.yaml", *options], env=environment, capture_output=True, text=True, timeout=300
    )
    assert result.returncode == 0, result.stderr[-3000:]
    return weights(folder)


def weights(folder):
    return PlannedDiffusionForCausalLM.from_pretrained(folder).state_dict()


def assert_close(ours, theirs, atol):
    assert ours.keys() == theirs.keys()
    assert all(torch.allclose(ours[key], theirs[key], atol=atol, rtol=0) for key in ours)


def test_ddp_equals_one_process(one):
    """In packed rows, of which the processes may have different numbers."""
    assert_close(by_two_processes(SCRIPT, one, "two", packing=True), weights("one"), 2e-6)


def test_fsdp2_equals_one_process_and_resumes_bit_for_bit(one):
    sharded = by_two_processes(ON_SHARDS, one, "two", **FSDP2)
    assert_close(sharded, weights("one"), 2e-6)
    resumed = by_two_processes(ON_SHARDS, one, "again", "--resume_from_checkpoint", "two/checkpoint-2", **FSDP2)
    assert_close(resumed, sharded, 0)
