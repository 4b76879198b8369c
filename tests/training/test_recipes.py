"""Every recipe that ships is one that the script understands."""

from pathlib import Path

import pytest
import yaml
from trl import SFTConfig, TrlParser

from planned_diffusion.training.adapters import AdapterArguments, check
from planned_diffusion.training.corruption import Objective
from planned_diffusion.training.sft import ScriptArguments

FOLDER = Path(__file__).parents[2] / "training" / "recipes"
RECIPES = sorted(path for path in FOLDER.glob("*.yaml") if not path.stem.endswith("_model"))


@pytest.mark.parametrize("path", RECIPES, ids=[path.stem for path in RECIPES])
def test_the_script_understands_it(path, tmp_path):
    recipe = yaml.safe_load(path.read_text())
    # What needs a GPU to be accepted; everything else is parsed as it stands.
    kept = {name: value for name, value in recipe.items() if name not in ("fsdp", "fsdp_config", "report_to")}
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump({**kept, "use_cpu": True, "report_to": "none"}))
    parser = TrlParser((ScriptArguments, SFTConfig, AdapterArguments))
    script, args, adapter = parser.parse_args_and_config(["--config", str(tmp_path / "recipe.yaml")])
    check(adapter, evaluates=args.eval_strategy != "no", on_cpu=False)
    Objective(
        span_padding=tuple(script.span_padding), noise_range=tuple(script.noise_range), plain_share=script.plain_share
    )
    assert (script.model is None) != (script.from_scratch is None) and script.train_file and args.output_dir


def test_there_are_recipes():
    assert {"smoke", "facts", "elements", "dream_7b_lora", "qwen2.5_7b_qlora", "full_fsdp2"} <= {
        path.stem for path in RECIPES
    }
