"""Saved tokenizers say nothing of the machine that loaded them, whatever door they came through."""

import json

import pytest
from transformers import AutoTokenizer
from trl import SFTConfig

from planned_diffusion.hub.proposal import adapter_files, is_current
from planned_diffusion.loading.load import load
from planned_diffusion.training.adapters import AdapterArguments
from planned_diffusion.training.model_options import model_options
from planned_diffusion.training.script_arguments import ScriptArguments
from planned_diffusion.training.starting_point import load_starting_point

ORIGIN = {"is_local", "local_files_only"}


def settings(folder) -> dict:
    return json.loads((folder / "tokenizer_config.json").read_text())


def for_training(folder):
    given = (ScriptArguments(model=folder), SFTConfig(bf16=False, use_cpu=True), AdapterArguments())
    return load_starting_point(*given, model_options(*given))


@pytest.mark.parametrize("door", [load, for_training])
def test_saved_settings(door, tiny, tmp_path):
    door(str(tiny))[1].save_pretrained(tmp_path / "saved")
    assert not ORIGIN & settings(tmp_path / "saved").keys()


def test_pushed_settings(tiny, tmp_path):
    AutoTokenizer.from_pretrained(tiny, padding_side="left").save_pretrained(tiny)
    (tiny / "generation_config.json").write_text('{"do_sample": false}')
    assert not is_current(tiny), "push exports it first"
    (tiny / "tokenizer_config.json").write_text('{"padding_side": "left"}')
    assert is_current(tiny)
    AutoTokenizer.from_pretrained(tiny).save_pretrained(tiny)
    (tiny / "adapter_model.safetensors").touch()
    (tiny / "adapter_config.json").write_text('{"base_model_name_or_path": "a/b"}')
    assert not ORIGIN & settings(adapter_files(tiny, "a/b", tmp_path)).keys()
