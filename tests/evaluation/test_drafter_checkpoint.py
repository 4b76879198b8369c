"""Included drafters: how they are made of a run, and whether what is included is fit to be shared."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from planned_diffusion.evaluation import drafter_checkpoint
from planned_diffusion.evaluation.drafter_checkpoint import main
from planned_diffusion.loading.adapter_base import base_of, check_base, hash_of_weights
from planned_diffusion.loading.embedded import CHECKPOINTS, INCLUDED

MOST_BYTES = 24_000_000
DRAFTERS = sorted(name for name in INCLUDED if name.endswith("-drafter"))


@pytest.fixture
def run(tmp_path, monkeypatch):
    """An output folder of a training beside the base "planner", both of them with weights of a few numbers."""
    base, folder = tmp_path / "planner", tmp_path / "run"
    monkeypatch.setattr(drafter_checkpoint, "INCLUDED", {"planner": base})
    for place, kind in ((base, "LORA"), (folder, "DRAFT_ROWS_LORA")):
        place.mkdir()
        save_file({"lora": torch.tensor([[1.0, 1.001, len(kind)]])}, place / "adapter_model.safetensors")
        settings = {"base_model_name_or_path": str(base), "peft_type": kind}
        (place / "adapter_config.json").write_text(json.dumps(settings))
    (base / "generation_config.json").write_text('{"decoding": "planned", "length_scale": 2.0, "eos_token_id": 2}')
    (folder / "adapter_base.json").write_text(json.dumps({"weights_sha256": hash_of_weights(base)}))
    (folder / "checkpoint-10").mkdir()
    state = {"global_step": 10, "epoch": 0.5, "log_history": [{"step": 10, "draft_loss": 2.0}]}
    (folder / "checkpoint-10" / "trainer_state.json").write_text(json.dumps(state))
    return folder


def test_the_checkpoint_is_the_run_in_bfloat16_beside_its_base(run, tmp_path):
    assert main([str(run), "--base", "planner"]) == 0
    out = tmp_path / "planner-drafter"
    (weights,) = load_file(out / "adapter_model.safetensors").values()
    assert torch.equal(weights, torch.tensor([[1.0, 1.001, 15.0]], dtype=torch.bfloat16))
    assert Path(base_of(str(out))).resolve() == tmp_path / "planner"
    check_base(str(out), str(tmp_path / "planner"))
    defaults = json.loads((out / "generation_config.json").read_text())
    assert defaults.items() >= {"decoding": "parallel_speculative", "length_scale": 2.0, "eos_token_id": 2}.items()
    assert json.loads((out / "training.json").read_text())["steps"] == 10
    assert str(tmp_path) not in "".join(path.read_text() for path in out.glob("*.json"))


def test_other_runs_are_refused_in_a_sentence(run, tmp_path):
    (run / "adapter_base.json").write_text('{"weights_sha256": "0"}')
    with pytest.raises(ValueError, match=r"run was trained on other weights than those of \S*planner; name its base"):
        main([str(run), "--base", "planner"])
    shutil.copy(tmp_path / "planner" / "adapter_config.json", run)
    for folder in (run, tmp_path):
        with pytest.raises(ValueError, match="holds no drafter; give the output folder of a training with lora_gated"):
            main([str(folder), "--base", "planner"])


@pytest.mark.parametrize("name", DRAFTERS)
def test_what_is_included_is_fit_to_be_shared(name):
    folder, base = INCLUDED[name], INCLUDED[name.removesuffix("-drafter")]
    assert folder.parent == CHECKPOINTS
    assert sum(path.stat().st_size for path in folder.iterdir()) < MOST_BYTES
    assert {tensor.dtype for tensor in load_file(folder / "adapter_model.safetensors").values()} == {torch.bfloat16}
    check_base(str(folder), str(base))
    defaults, own = (json.loads((place / "generation_config.json").read_text()) for place in (base, folder))
    assert own["decoding"] == "parallel_speculative"
    changed = {"decoding", "transformers_version"}
    assert {key: own.get(key) for key in own if key not in changed} == {
        key: defaults[key] for key in defaults if key not in changed
    }
    text = "".join(path.read_text() for path in folder.glob("*.[jm]*") if path.suffix != ".safetensors")
    assert not [word for word in ("/tmp", "/home", "/root") if word in text]
