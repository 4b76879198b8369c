"""`model_init_kwargs` of TRL: obeyed; fields of the script win with a warning; what cannot be obeyed is refused."""

import json
import re
from pathlib import Path

import pytest
import torch
import yaml

from planned_diffusion.modeling_planned_diffusion import PlannedDiffusionForCausalLM
from planned_diffusion.training import sft


@pytest.fixture
def base(workspace, config, tokenizer):
    """A tiny random checkpoint in "base", and a recipe that tunes it in one step."""
    torch.manual_seed(0)
    PlannedDiffusionForCausalLM(config).save_pretrained("base")
    tokenizer.save_pretrained("base")
    write_recipe()
    return workspace


def write_recipe(**changes):
    recipe = yaml.safe_load(Path("recipe.yaml").read_text())
    tuning = {"from_scratch": None, "tokenizer": None, "model": "base", "max_steps": 1}
    Path("tune.yaml").write_text(yaml.safe_dump({**recipe, **tuning, **changes}))


@pytest.fixture
def trained(base, monkeypatch):
    """`trained(given, **fields)`: the model after a step with these `model_init_kwargs` and fields of the recipe."""
    trainers = []
    monkeypatch.setattr(sft, "leave_the_process_group", trainers.append)

    def train(given, **fields):
        write_recipe(model_init_kwargs=given, **fields)
        assert sft.main(["--config", "tune.yaml"]) == 0
        return trainers[-1].model

    return train


@pytest.mark.slow
@pytest.mark.parametrize(
    ("given", "name", "expected"),
    [
        ({}, "dtype", torch.float32),
        ({"dtype": "bfloat16"}, "dtype", torch.bfloat16),
        ({"dtype": "float32"}, "dtype", torch.float32),
        ({"dtype": "auto"}, "dtype", torch.float32),
        ({"torch_dtype": "bfloat16"}, "dtype", torch.bfloat16),
        ({"attn_implementation": "eager"}, "config._attn_implementation", "eager"),
        ({}, "config._attn_implementation", "sdpa"),
        ({"trust_remote_code": True}, "__class__", PlannedDiffusionForCausalLM),
        ({"revision": "main", "local_files_only": True}, "dtype", torch.float32),
        ({"use_cache": False}, "dtype", torch.float32),
        ({"device_map": {"": "cpu"}}, "device.type", "cpu"),
        ({"tokens_per_length_unit": 5}, "config.tokens_per_length_unit", 5),
    ],
)
def test_they_are_obeyed(given, name, expected, trained, capsys):
    model = trained(given)
    for part in name.split("."):
        model = getattr(model, part)
    assert model == expected and "warning" not in capsys.readouterr().err


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("given", "fields", "warning"),
    [
        (
            {"attn_implementation": "eager"},
            {"attn_implementation": "sdpa"},
            "attn_implementation to 'eager', .* 'sdpa'",
        ),
        ({"trust_remote_code": False}, {"trust_remote_code": True}, "trust_remote_code to False, .* uses True"),
        ({"use_safetensors": False}, {}, "use_safetensors to False, and this run uses True"),
        ({"output_loading_info": False}, {}, "output_loading_info to False, and this run uses True"),
        ({"use_cache": True}, {}, "use_cache to True, and this run uses False"),
        (
            {"quantization_config": {"load_in_8bit": True}},
            {"load_in_4bit": True, "use_peft": True},
            "quantization_config to {'load_in_8bit': True}, and this run uses 'load_in_4bit'",
        ),
    ],
)
def test_fields_of_the_script_win_with_a_sentence(given, fields, warning, trained, capsys):
    model = trained(given, **fields)
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("warning")]
    assert len(lines) == 1 and lines[0].startswith("warning: model_init_kwargs sets ")
    assert re.search(warning, lines[0])
    assert model.config._attn_implementation == "sdpa"
    assert not getattr(model, "is_loaded_in_8bit", False)


def test_a_field_that_says_the_same_needs_no_sentence(trained, capsys):
    trained({"attn_implementation": "eager"}, attn_implementation="eager")
    assert "warning" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        ({"foo": 1}, "model_init_kwargs holds foo, which cannot all be used .*'foo'"),
        ({"load_in_4bit": True}, "model_init_kwargs holds load_in_4bit, which cannot"),
        ({"dtype": "int8"}, "model_init_kwargs sets dtype to 'int8'; give one of auto, float32, bfloat16, float16"),
        ({"dtype": 16}, "sets dtype to 16; give one of"),
        ({"attn_implementation": "fast"}, "base cannot be loaded: .*fast"),
        ({"config": "other"}, "holds config, which would change the weights"),
        ({"gguf_file": "a.gguf"}, "holds gguf_file"),
        ({"ignore_mismatched_sizes": True}, "holds ignore_mismatched_sizes"),
        ({"subfolder": "absent"}, "base"),
        (["dtype"], r"model_init_kwargs is \['dtype'\]; give a mapping"),
        ("bfloat16", "model_init_kwargs is 'bfloat16'; give a mapping"),
        ({"quantization_config": {"load_in_4bit": "yes"}}, "has a quantization_config that bitsandbytes cannot use"),
    ],
)
def test_what_cannot_be_obeyed_is_refused_in_a_sentence(given, complaint, base):
    write_recipe(model_init_kwargs=given, use_peft="quantization_config" in given)
    with pytest.raises(ValueError, match=complaint):
        sft.main(["--config", "tune.yaml"])
    assert not Path("out").exists()


def test_the_command_line_gives_them_as_json(base, monkeypatch):
    trainers = []
    monkeypatch.setattr(sft, "leave_the_process_group", trainers.append)
    given = json.dumps({"dtype": "bfloat16", "attn_implementation": "eager"})
    assert sft.main(["--config", "tune.yaml", "--model_init_kwargs", given]) == 0
    assert trainers[0].model.dtype == torch.bfloat16 and trainers[0].model.config._attn_implementation == "eager"


def test_a_new_model_takes_what_means_something_for_it(workspace, monkeypatch):
    trainers = []
    monkeypatch.setattr(sft, "leave_the_process_group", trainers.append)
    given = json.dumps({"dtype": "bfloat16", "attn_implementation": "eager"})
    assert sft.main(["--config", "recipe.yaml", "--max_steps", "1", "--model_init_kwargs", given]) == 0
    assert trainers[0].model.dtype == torch.bfloat16 and trainers[0].model.config._attn_implementation == "eager"
    with pytest.raises(
        ValueError, match="holds revision, which says how a checkpoint is loaded, and from_scratch loads"
    ):
        sft.main(["--config", "recipe.yaml", "--model_init_kwargs", '{"revision": "main"}', "--output_dir", "b"])
