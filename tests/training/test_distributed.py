"""Two gloo processes equal one: the loss is normalised over all of them, and sharded checkpoints resume exactly."""

import multiprocessing
import os
import socket
import sys
import warnings
from pathlib import Path

import pytest
import torch
import yaml
from accelerate.state import AcceleratorState, PartialState
from accelerate.utils import DistributedType

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


@pytest.fixture
def one(workspace):
    """Folder "one", trained by one process on batches of 8; returns the recipe."""
    recipe = yaml.safe_load(Path("recipe.yaml").read_text())
    recipe |= {"learning_rate": 1e-3, "train_sampling_strategy": "sequential"}
    recipe |= {"save_strategy": "steps", "save_steps": 2}
    Path("one.yaml").write_text(yaml.safe_dump({**recipe, "per_device_train_batch_size": 8, "output_dir": "one"}))
    assert sft.main(["--config", "one.yaml"]) == 0
    return recipe


def by_two_processes(recipe, folder, *options, sharded: bool = False, **changes):
    """Trains with 2 processes of batches of 4, forked from this one; returns the weights."""
    recipe = {**recipe, **changes, "per_device_train_batch_size": 4, "output_dir": folder}
    Path("two.yaml").write_text(yaml.safe_dump(recipe))
    arguments = ["--config", "two.yaml", *options]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    fork = multiprocessing.get_context("fork")
    processes = [fork.Process(target=train, args=(arguments, rank, port, sharded)) for rank in range(2)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12: other tests may have left threads
        for process in processes:
            process.start()
    for process in processes:
        process.join(120)
        process.kill()
    assert [process.exitcode for process in processes] == [0, 0]
    return weights(folder)


def train(arguments: list[str], rank: int, port: int, sharded: bool) -> None:
    """Be one of two processes, as torch.distributed.run would start it."""
    os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE="2")
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    AcceleratorState._reset_state(reset_partial_state=True)  # this process trained alone before it was forked
    if sharded:
        claim_accelerators()
    sys.exit(sft.main(arguments))


def claim_accelerators() -> None:
    """Make accelerate take the processes for accelerators: it shards nothing else. All else runs as on GPUs."""
    as_found = PartialState.__init__

    def claiming(self, *args, **kwargs):
        as_found(self, *args, **kwargs)
        if self.distributed_type == DistributedType.MULTI_CPU:
            self.distributed_type = DistributedType.MULTI_GPU

    PartialState.__init__ = claiming


def weights(folder):
    return PlannedDiffusionForCausalLM.from_pretrained(folder).state_dict()


def assert_close(ours, theirs, atol):
    assert ours.keys() == theirs.keys()
    assert all(torch.allclose(ours[key], theirs[key], atol=atol, rtol=0) for key in ours)


def test_ddp_equals_one_process(one):
    """In packed rows, of which the processes may have different numbers."""
    assert_close(by_two_processes(one, "two", packing=True), weights("one"), 2e-6)


def test_fsdp2_equals_one_process_and_resumes_bit_for_bit(one):
    sharded = by_two_processes(one, "two", sharded=True, **FSDP2)
    assert_close(sharded, weights("one"), 2e-6)
    resumed = by_two_processes(one, "again", "--resume_from_checkpoint", "two/checkpoint-2", sharded=True, **FSDP2)
    assert_close(resumed, sharded, 0)
