"""A recipe whose values have other types than its fields is refused in a sentence with file, field and type."""

import re
from dataclasses import fields
from pathlib import Path
from typing import get_type_hints

import pytest
import yaml
from trl import SFTConfig

from planned_diffusion.training import sft
from planned_diffusion.training.adapters import AdapterArguments
from planned_diffusion.training.objective import ObjectiveFields
from planned_diffusion.training.recipe import parse_arguments
from planned_diffusion.training.recipe_types import check_recipe, expected
from planned_diffusion.training.script_arguments import ScriptArguments

KINDS = (ScriptArguments, ObjectiveFields, SFTConfig, AdapterArguments)
CPU = {"use_cpu": True, "bf16": False}


class Foreign:
    """A value of a type that no field takes; it reads as nothing."""

    __str__ = __repr__ = lambda self: "foreign"


@pytest.mark.parametrize("kind", KINDS, ids=[kind.__name__ for kind in KINDS])
def test_every_field_takes_its_default_and_no_foreign_value(kind):
    hints = get_type_hints(kind)
    for field in fields(kind):
        default = getattr(kind(), field.name) if kind is not SFTConfig else field.default
        if isinstance(default, (bool, int, float, str, list, type(None))):
            check_recipe("a.yaml", {field.name: default}, KINDS)
        takes = expected(hints[field.name])
        if takes == "another value":  # typed as anything
            continue
        with pytest.raises(ValueError, match=re.escape(f"a.yaml: {field.name} is foreign; give {takes}")):
            check_recipe("a.yaml", {field.name: Foreign()}, KINDS)


@pytest.mark.parametrize(
    ("name", "values", "takes"),
    [
        ("max_steps", ["many", [1], 1.5, True, {"a": 1}, None], "an integer"),
        ("learning_rate", ["fast", [1], True, None], "a number"),
        ("plain_share", ["half", [0.5]], "a number"),
        ("lora_r", ["big", 2.5], "an integer"),
        ("packed_length", ["long", [8]], "an integer"),
        ("use_peft", ["perhaps", 3, [True], None], "true or false"),
        ("complementary_masks", ["perhaps", 2], "true or false"),
        ("model", [3, ["a"], True], "text"),
        ("output_dir", [3, ["a"], False], "text"),
        ("train_file", [3, [1], {"a": 1}, True], "a list of texts"),
        ("span_padding", ["a", [1, "b"], [[1]], 2.5, {"a": 1}], "a list of integers"),
        ("noise_range", ["a", [0.1, "most"], [None]], "a list of numbers"),
        ("lora_target_modules", [3, [3]], "a list of texts"),
        ("eval_strategy", ["sometimes", 3], "one of no, steps, epoch"),
        ("eval_strategy", [False], r"one of no, steps, epoch \(in quotes: YAML reads no as false\)"),
        ("lr_scheduler_type", ["steep", 1], "one of linear, cosine"),
        ("model_init_kwargs", [3, ["a"], "{a"], "a mapping or text"),
        ("resume_from_checkpoint", [3, ["a"]], "text or true or false"),
        ("packing_strategy", ["tight"], "one of bfd"),
    ],
)
def test_a_value_of_another_type_is_refused(name, values, takes, tmp_path):
    for value in values:
        path = tmp_path / "a.yaml"
        path.write_text(yaml.safe_dump({**CPU, name: value}))
        with pytest.raises(ValueError, match=re.escape(f"{path}: {name} is {value!r}; give ") + takes):
            sft.main(["--config", str(path)])


@pytest.mark.parametrize(
    ("name", "value", "parsed"),
    [
        ("max_steps", "3", 3),
        ("learning_rate", "1e-3", 1e-3),
        ("learning_rate", 1, 1),
        ("use_peft", "true", True),
        ("use_peft", 1, True),
        ("lora_target_modules", "attention", ["attention"]),
        ("train_file", "a.jsonl", ["a.jsonl"]),
        ("noise_range", ["1e-3", 1], [0.001, 1.0]),
        ("resume_from_checkpoint", True, True),
        ("resume_from_checkpoint", "auto", "auto"),
        ("model", None, None),
        ("model_init_kwargs", {"dtype": "auto"}, {"dtype": "auto"}),
        ("model_init_kwargs", '{"dtype": "auto"}', {"dtype": "auto"}),
    ],
)
def test_a_value_that_can_be_read_is(name, value, parsed, tmp_path):
    path = tmp_path / "a.yaml"
    path.write_text(yaml.safe_dump({**CPU, name: value}))
    given = parse_arguments(KINDS, ["--config", str(path)])
    assert next(getattr(one, name) for one in given if hasattr(one, name)) == parsed


@pytest.mark.parametrize("backbone", [3, "qwen2", ["model_type"], None, {"hidden_size": 32}])
def test_a_backbone_that_is_no_mapping_is_refused(backbone, workspace):
    Path("scratch.yaml").write_text(yaml.safe_dump({"backbone_config": backbone}))
    with pytest.raises(ValueError, match="scratch.yaml needs a mapping backbone_config with a model_type"):
        sft.main(["--config", "recipe.yaml"])


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("lerning_rate: 1", "a.yaml: there is no field lerning_rate; did you mean learning_rate"),
        ("3: 4", "a.yaml: there is no field 3; planned-diffusion train --help lists all"),
        ("env: 3", "a.yaml: env is 3; give a mapping of environment variables"),
    ],
)
def test_a_field_that_is_none_is_refused(content, complaint, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("a.yaml").write_text(content)
    with pytest.raises(ValueError, match=complaint):
        sft.main(["--config", "a.yaml"])


@pytest.mark.parametrize(
    ("argv", "complaint"),
    [
        (["--max_steps", "many"], "--max_steps: invalid int value: 'many'; give an integer"),
        (["--max_steps"], "--max_steps: expected one argument; give an integer"),
        (["--use_cpu", "perhaps"], "--use_cpu: .* got perhaps .*; give true or false"),
        (["--eval_strategy", "x"], "--eval_strategy: invalid choice: 'x' .*; give one of no, steps, epoch"),
        (["--noise_range", "a", "1"], "--noise_range: invalid float value: 'a'; give a list of numbers"),
        (["--model_init_kwargs", "{a"], '{a is no JSON; give a mapping such as \'{"dtype": "bfloat16"}\''),
    ],
)
def test_the_command_line_is_refused_in_a_sentence(argv, complaint, capsys):
    with pytest.raises(ValueError, match=complaint):
        sft.main(["--use_cpu", "true", "--bf16", "false", *argv])
    assert capsys.readouterr().err == ""  # no usage of hundreds of lines
