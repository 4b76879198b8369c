"""Training on checkpoints that are stored quantised: an adapter on those of bitsandbytes, a sentence for the rest."""

import json
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file
from transformers import BitsAndBytesConfig
from transformers.quantizers.auto import AUTO_QUANTIZER_MAPPING

from planned_diffusion.loading.load import load
from planned_diffusion.modeling_planned_diffusion import PlannedDiffusionForCausalLM
from planned_diffusion.training import sft
from planned_diffusion.training.adapters import AdapterArguments
from planned_diffusion.training.quantised_base import check_quantisation

IN_4_BITS = {"load_in_4bit": True, "bnb_4bit_use_double_quant": True}
SETTINGS = {
    "int8": {"load_in_8bit": True},
    "nf4": {**IN_4_BITS, "bnb_4bit_quant_type": "nf4"},
    "fp4": {**IN_4_BITS, "bnb_4bit_quant_type": "fp4"},
}
OTHERS = sorted(name for name in AUTO_QUANTIZER_MAPPING if not name.startswith("bitsandbytes"))

pytestmark = pytest.mark.filterwarnings("ignore")  # of the libraries


@pytest.fixture
def stored(workspace, config, tokenizer):
    """`stored("int8")`: makes a tiny random checkpoint "base", and "stored" of its quantised weights."""

    def save(name):
        pytest.importorskip("bitsandbytes")
        torch.manual_seed(0)
        PlannedDiffusionForCausalLM(config).save_pretrained("base")
        model = PlannedDiffusionForCausalLM.from_pretrained(
            "base", dtype=torch.float32, quantization_config=BitsAndBytesConfig(**SETTINGS[name])
        )
        model.save_pretrained("stored")
        for folder in ("base", "stored"):
            tokenizer.save_pretrained(folder)

    write_recipe(model="stored")
    return save


def write_recipe(**changes):
    recipe = yaml.safe_load(Path("recipe.yaml").read_text())
    lora = {
        "from_scratch": None,
        "tokenizer": None,
        "use_peft": True,
        "lora_r": 4,
        "learning_rate": 0.02,
        "max_steps": 2,
    }
    Path("lora.yaml").write_text(yaml.safe_dump({**recipe, **lora, **changes}))


@pytest.mark.slow
@pytest.mark.parametrize("name", SETTINGS)
def test_an_adapter_on_a_stored_quantisation_is_that_of_quantising_while_loading(name, stored):
    stored(name)
    assert sft.main(["--config", "lora.yaml", "--output_dir", "on-stored"]) == 0
    given = {"model_init_kwargs": {"quantization_config": SETTINGS[name]}}
    write_recipe(model="base", output_dir="on-base", **given)
    assert sft.main(["--config", "lora.yaml"]) == 0
    on_stored, on_base = (load_file(f"{folder}/adapter_model.safetensors") for folder in ("on-stored", "on-base"))
    assert on_stored.keys() == on_base.keys() and all(on_stored[key].equal(on_base[key]) for key in on_base)
    assert any(weight.any() for key, weight in on_stored.items() if "lora_B" in key)  # zero before training
    model, _ = load("on-stored")  # the adapter on its base, which is stored quantised
    layer = model.model.layers[0].mlp.up_proj
    assert type(layer.base_layer).__name__ == ("Linear8bitLt" if name == "int8" else "Linear4bit")
    weights = load_file("stored/model.safetensors")
    assert layer.base_layer.weight.data.equal(weights["model.layers.0.mlp.up_proj.weight"])


@pytest.mark.parametrize("name", ["int8", "nf4"])
def test_the_switch_that_says_what_is_stored_changes_nothing(name, stored):
    stored(name)
    switch = "load_in_8bit" if name == "int8" else "load_in_4bit"
    for folder, options in (("without", []), ("with", [f"--{switch}", "true"])):
        assert sft.main(["--config", "lora.yaml", "--output_dir", folder, *options]) == 0
    without, given = (load_file(f"{folder}/adapter_model.safetensors") for folder in ("without", "with"))
    assert all(without[key].equal(given[key]) for key in without)


EVALUATING = {"eval_strategy": "epoch", "eval_file": "train.jsonl"}
REFUSED = [
    *((name, {"use_peft": False}, f"stored quantised as {name}, and .* add use_peft: true") for name in SETTINGS),
    *(("gptq", {"use_peft": use_peft}, "quantised as gptq, on which no adapter can") for use_peft in (True, False)),
    *((name, EVALUATING, f"repacks {name} weights when it evaluates") for name in ("nf4", "fp4")),
    *((name, {"load_in_8bit": True}, f"quantised as {name}, which .* into int8") for name in ("nf4", "fp4", "gptq")),
    *((name, {"load_in_4bit": True}, f"quantised as {name}, which .* into nf4") for name in ("int8", "fp4", "torchao")),
    (
        "int8",
        {"model_init_kwargs": {"quantization_config": IN_4_BITS}},
        "quantised as int8, which loading does not turn into fp4; leave load_in_4bit, load_in_8bit and quantization_",
    ),
    (None, {"model_init_kwargs": {"quantization_config": {"quant_method": "torchao"}}}, "asks for torchao, on which"),
    (
        None,
        {"model_init_kwargs": {"quantization_config": IN_4_BITS}, "use_peft": False},
        "quantization_config asks for fp4, and quantised weights cannot be trained themselves",
    ),
    (None, {"model_init_kwargs": {"quantization_config": "nf4"}}, "sets quantization_config to 'nf4'; give a mapping"),
    ("nonsense", {}, "stored is stored quantised as nonsense, on which no adapter"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "changes", "complaint"), REFUSED)
def test_what_cannot_be_trained_is_refused_before_anything_is_loaded(name, changes, complaint, workspace, config):
    settings = SETTINGS.get(name, {"quant_method": name}) if name else None
    Path("stored").mkdir()
    Path("stored/config.json").write_text(json.dumps({**config.to_dict(), "quantization_config": settings}))
    write_recipe(model="stored", **changes)
    with pytest.raises(ValueError, match=complaint):
        sft.main(["--config", "lora.yaml"])
    assert not Path("out").exists()


@pytest.mark.parametrize("use_peft", [True, False])
def test_no_other_quantisation_is_trained_on(use_peft):
    adapter = AdapterArguments(use_peft=use_peft)
    for name in OTHERS:
        with pytest.raises(
            ValueError, match=f"stored is stored quantised as {name}, on which no adapter can be trained"
        ):
            check_quantisation("stored", name, adapter, None)


def test_numbers_of_a_quantisation_that_config_json_does_not_name_are_refused(stored):
    stored("int8")
    fields = json.loads(Path("stored/config.json").read_text())
    del fields["quantization_config"]
    Path("stored/config.json").write_text(json.dumps(fields))
    with pytest.raises(ValueError, match=r"stores .*SCB \(and 27 more\), which its config.json has no place for"):
        sft.main(["--config", "lora.yaml", "--use_peft", "false"])
