"""The script understands every recipe that ships, and refuses others in a sentence."""

import os
import subprocess
import sys
from dataclasses import asdict, fields
from pathlib import Path

import pytest
import yaml
from trl import SFTConfig

from planned_diffusion.training import sft
from planned_diffusion.training.adapters import AdapterArguments, check_adapter
from planned_diffusion.training.objective import Objective, ObjectiveFields
from planned_diffusion.training.recipe import parse_arguments
from planned_diffusion.training.sft import ScriptArguments

FOLDER = Path(__file__).parents[2] / "training" / "recipes"
RECIPES = sorted(path for path in FOLDER.glob("*.yaml") if not path.stem.endswith("_model"))


@pytest.mark.parametrize("path", RECIPES, ids=[path.stem for path in RECIPES])
def test_the_script_understands_it(path, tmp_path):
    recipe = yaml.safe_load(path.read_text())
    # Without the fields that need a GPU; everything else is parsed as it stands.
    kept = {name: value for name, value in recipe.items() if name not in ("fsdp", "fsdp_config", "report_to")}
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump({**kept, "use_cpu": True, "report_to": "none"}))
    kinds = (ScriptArguments, ObjectiveFields, SFTConfig, AdapterArguments)
    script, chosen, args, adapter = parse_arguments(kinds, ["--config", str(tmp_path / "recipe.yaml")])
    check_adapter(adapter, evaluates=args.eval_strategy != "no", on_cpu=False)
    Objective(**asdict(chosen))
    assert (script.model is None) != (script.from_scratch is None) and script.train_file and args.output_dir


def test_a_field_is_declared_once_and_its_default_is_the_objectives():
    kinds = (ScriptArguments, ObjectiveFields, AdapterArguments)
    names = [field.name for kind in kinds for field in fields(kind)]
    assert len(names) == len(set(names))
    assert all(field.metadata["help"].endswith(".") for kind in kinds for field in fields(kind))
    _, parsed, args, _ = parse_arguments(
        (ScriptArguments, ObjectiveFields, SFTConfig, AdapterArguments), ["--use_cpu", "--bf16", "false"]
    )
    assert Objective(**asdict(parsed)) == Objective() and Objective().complementary_masks


def test_the_objective_takes_attention_and_unit_from_the_model(config):
    chosen = ObjectiveFields(span_padding=[0, 2], fill_promised_room=True)
    objective = Objective.for_model(chosen, config, seed=7)
    assert (objective.span_attention, objective.span_multiple, objective.seed) == ("sparse", 4, 7)
    assert objective.span_padding == [0, 2]
    assert Objective.for_model(ObjectiveFields(), config, seed=7).span_multiple == 1


def test_asking_for_the_packed_length_changes_no_argument(config, tokenizer, tmp_path):
    args = SFTConfig(output_dir=str(tmp_path), packing=True, max_length=100, use_cpu=True, bf16=False)
    args.model_init_kwargs = {"revision": "main"}
    run = sft.Run(ScriptArguments(), args, Objective(), tokenizer, config)
    assert run.packed_length == run.packed_length == 200 and args.packing
    assert sft.Run(ScriptArguments(packed_length=50), args, Objective(), tokenizer, config).packed_length == 50
    left = sft.without_applied_settings(args)
    assert not left.packing and left.model_init_kwargs is None
    assert args.packing and args.model_init_kwargs == {"revision": "main"}
    assert sft.Run(ScriptArguments(), left, Objective(), tokenizer, config).packed_length is None


def test_there_are_recipes():
    assert {"smoke", "facts", "elements", "dream_7b_lora", "qwen2.5_7b_qlora", "full_fsdp2"} <= {
        path.stem for path in RECIPES
    }


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"train_file": None}, "There is no train_file"),
        ({"block_sizes": ["a"]}, r"block_sizes is \['a'\]; give a list of integers"),
        ({"block_sizes": 4}, "block_sizes is 4; give a list of integers"),
        ({"block_sizes": [2.5]}, r"block_sizes is \[2.5\]; give a list of integers"),
        ({"noise_range": [0.1, "most"]}, "noise_range is .*; give a list of numbers"),
        ({"noise_range": ["1e-3", 2]}, r"noise_range is \[0.001, 2.0\]; give two probabilities"),
        ({"from_scratch": "broken.yaml"}, "broken.yaml is no YAML .*line 2, column 1.*; mend it there"),
        ({"model": "/absent"}, "There is no folder /absent; give model a folder, or a Hub repository as owner/name"),
        ({"model": "absent"}, "There is no folder absent"),
        ({"model": "train.jsonl"}, "There is no folder train.jsonl"),
        ({"model": "tokenizer"}, "tokenizer holds no config.json of a model; give the folder"),
        ({"model": "plain"}, "plain is a model of type qwen2, which cannot plan; .*planned-diffusion convert plain"),
    ],
)
def test_a_recipe_that_cannot_be_trained_is_refused_in_a_sentence(changes, complaint, workspace):
    Path("broken.yaml").write_text("a: [1,\n")
    Path("plain").mkdir()
    Path("plain/config.json").write_text('{"model_type": "qwen2"}')
    recipe = {**yaml.safe_load(Path("recipe.yaml").read_text()), **changes}
    if "model" in changes:
        del recipe["from_scratch"], recipe["tokenizer"]
    Path("recipe.yaml").write_text(yaml.safe_dump({name: value for name, value in recipe.items() if value is not None}))
    with pytest.raises(ValueError, match=complaint):
        sft.main(["--config", "recipe.yaml"])


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("a: [1,\n b", "a.yaml is no YAML"),
        ("- a\n", "a.yaml holds no mapping; write one 'field: value' per line"),
        ("", "a.yaml holds no mapping"),
        (None, "There is no file a.yaml"),
        ("unknown_field: 1\nuse_cpu: true\nbf16: false", "unknown_field"),
    ],
)
def test_a_recipe_that_cannot_be_read_is_refused_in_a_sentence(content, complaint, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    if content is not None:
        Path("a.yaml").write_text(content)
    with pytest.raises(ValueError, match=complaint):
        sft.main(["--config", "a.yaml"])
    for argv in (["--config"], ["--config", "--use_cpu"]):
        with pytest.raises(ValueError, match="--config has no value"):
            sft.main(argv)


@pytest.mark.slow
def test_the_module_ends_with_one_line_and_status_2(tmp_path):
    ran = subprocess.run(
        [sys.executable, "-m", "planned_diffusion.training.sft", "--config", "absent.yaml"],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}, cwd=tmp_path, capture_output=True, text=True,
    )  # fmt: skip
    assert ran.returncode == 2 and ran.stderr.splitlines()[-1].startswith("error: There is no file absent.yaml;")
