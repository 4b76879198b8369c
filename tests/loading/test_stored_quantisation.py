"""Checkpoints that are stored quantised are loaded as they are, or refused in a sentence; nothing is misread."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoTokenizer, BitsAndBytesConfig
from transformers.quantizers.auto import AUTO_QUANTIZER_MAPPING

from planned_diffusion.cli.main import main
from planned_diffusion.hub.export import export
from planned_diffusion.loading.load import load
from planned_diffusion.loading.stored_quantisation import stored_quantisation
from planned_diffusion.modeling_planned_diffusion import PlannedDiffusionForCausalLM

FACTS = Path(__file__).resolve().parents[2] / "checkpoints" / "facts"
SETTINGS = {
    "int8": {"load_in_8bit": True},
    "nf4": {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4"},
    "fp4": {"load_in_4bit": True},
}
OTHERS = sorted(name for name in AUTO_QUANTIZER_MAPPING if not name.startswith("bitsandbytes"))

pytestmark = pytest.mark.filterwarnings("ignore")  # of the libraries


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    """`stored("int8")`: a folder with the included checkpoint, stored in a quantisation of bitsandbytes."""
    pytest.importorskip("bitsandbytes")
    folder = tmp_path_factory.mktemp("stored")

    def save(name):
        if not (folder / name).is_dir():
            settings = BitsAndBytesConfig(**SETTINGS[name])
            model = PlannedDiffusionForCausalLM.from_pretrained(
                FACTS, dtype=torch.bfloat16, quantization_config=settings
            )
            model.save_pretrained(folder / name)
            AutoTokenizer.from_pretrained(FACTS).save_pretrained(folder / name)
        return str(folder / name)

    return save


@pytest.fixture
def facts(tmp_path):
    """`facts(**fields of config.json)`: a copy of the included checkpoint with other fields."""

    def copy(**fields):
        for name in ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"):
            shutil.copy(FACTS / name, tmp_path)
        config = json.loads((tmp_path / "config.json").read_text())
        (tmp_path / "config.json").write_text(json.dumps(config | fields))
        return str(tmp_path)

    return copy


@pytest.mark.parametrize("name", SETTINGS)
def test_each_quantisation_of_bitsandbytes_loads_as_it_is_stored(name, stored):
    weights = load_file(Path(stored(name), "model.safetensors"))
    for dtype in ("auto", name) if name != "fp4" else ("auto",):
        model, _ = load(stored(name), dtype)
        layer = model.model.layers[1].mlp.up_proj
        assert type(layer).__name__ == ("Linear8bitLt" if name == "int8" else "Linear4bit")
        assert layer.weight.dtype == weights["model.layers.1.mlp.up_proj.weight"].dtype
        assert layer.weight.data.equal(weights["model.layers.1.mlp.up_proj.weight"])


@pytest.mark.parametrize(
    ("name", "dtype"), [(n, d) for n in SETTINGS for d in ("nf4", "int8", "bfloat16", "float32") if n != d]
)
def test_another_dtype_than_the_stored_one_is_refused(name, dtype, stored):
    with pytest.raises(ValueError, match=f"is stored quantised as {name}, which loading does not turn into {dtype}; "):
        load(stored(name), dtype)


@pytest.mark.parametrize("name", OTHERS)
def test_every_other_quantisation_loads_whole_or_is_named(name, facts):
    """Here most libraries are missing, and the weights are ordinary numbers: nothing but a sentence may come out."""
    folder = facts(quantization_config={"quant_method": name, "bits": 4, "group_size": 128})
    with pytest.raises(ValueError, match="does not turn into nf4"):
        load(folder, "nf4")
    try:
        model, _ = load(folder)
    except ValueError as error:
        assert f"stored quantised as {name}, which does not load here" in str(error) and "\n" not in str(error)
    else:  # some are turned into ordinary numbers where there is no GPU
        expected = load_file(FACTS / "model.safetensors")["model.layers.1.mlp.up_proj.weight"]
        assert model.model.layers[1].mlp.up_proj.weight.equal(expected)


@pytest.fixture
def adapter(tmp_path):
    """`adapter(base)`: a folder with the settings of an adapter on a base; nothing else is read before the refusal."""

    def on(base):
        folder = tmp_path / "adapter"
        folder.mkdir()
        (folder / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "base_model_name_or_path": base}))
        return str(folder)

    return on


def refused_export(source, out):
    """Return the sentence with which the command line refuses to export, after it has left nothing behind."""
    with pytest.raises(ValueError) as refusal:
        export(source, out / "new" / "exported")
    assert not (out / "new").exists() and "\n" not in str(refusal.value)
    return str(refusal.value)


@pytest.mark.parametrize("name", SETTINGS)
def test_export_refuses_each_quantisation_of_bitsandbytes(name, stored, tmp_path):
    assert refused_export(stored(name), tmp_path) == (
        f"{stored(name)} is stored quantised as {name}, and quantised weights are not written again; export the "
        "checkpoint from which it was quantised."
    )


@pytest.mark.parametrize("name", [*OTHERS, "nonsense"])
def test_export_refuses_every_other_quantisation(name, facts, tmp_path):
    """Also those that are turned into ordinary numbers where there is no GPU: what is written depends on no machine."""
    folder = facts(quantization_config={"quant_method": name, "bits": 4, "group_size": 128})
    assert f"{folder} is stored quantised as {name}, and quantised" in refused_export(folder, tmp_path)


@pytest.mark.parametrize("name", [*SETTINGS, *OTHERS])
def test_export_merges_no_adapter_into_quantised_weights(name, facts, adapter, tmp_path):
    base = facts(quantization_config=SETTINGS.get(name) or {"quant_method": name, "bits": 4})
    source = adapter(base)
    said = refused_export(source, tmp_path)
    assert said.startswith(
        f"The base of the adapter {source}, {base}, is stored quantised as {name}, and adapters are "
    )
    assert "set base_model_name_or_path in adapter_config.json to the checkpoint from which it was quantised" in said


@pytest.mark.parametrize("quantised", ["int8", "gptq"])
def test_the_command_line_refuses_them_in_one_line(quantised, facts, tmp_path, capsys):
    folder = facts(quantization_config=SETTINGS.get(quantised) or {"quant_method": quantised})
    assert main(["export", folder, str(tmp_path / "out")]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"error: {folder} is stored quantised as {quantised}") and said.count("\n") == 1


@pytest.mark.parametrize("settings", [{"quant_method": "nonsense"}, {"bits": 4}, {"quant_method": None}, ["int8"], 4])
def test_a_quantisation_that_nobody_knows_is_refused(settings, facts):
    with pytest.raises(ValueError, match="stored quantised (by|as) (nonsense|an unnamed method)"):
        load(facts(quantization_config=settings))


@pytest.mark.parametrize(
    "fields", [{"quantization_config": None}, {"quantization_config": {}}, {"backbone_config": None}]
)
def test_ordinary_numbers_have_no_quantisation(fields):
    assert stored_quantisation(fields) is None


def test_the_backbones_part_of_the_configuration_counts():
    assert stored_quantisation({"backbone_config": {"quantization_config": {"_load_in_8bit": True}}}) == "int8"


def test_quantised_weights_without_their_configuration_are_refused(stored, tmp_path):
    """The scales have no place in the model, and the integers would be taken for weights."""
    shutil.copytree(stored("int8"), tmp_path, dirs_exist_ok=True)
    config = json.loads((tmp_path / "config.json").read_text())
    del config["quantization_config"]
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match="stores .*weight as I8, and its config.json names no quantisation"):
        load(str(tmp_path))


def test_weights_without_a_place_and_missing_ones_are_refused(facts):
    folder = facts()
    weights = load_file(FACTS / "model.safetensors")
    save_file({**weights, "more": torch.zeros(1)}, Path(folder, "model.safetensors"), {"format": "pt"})
    with pytest.raises(ValueError, match="stores more, which its config.json has no place for; take the config.json"):
        load(folder)
    del weights["model.norm.weight"]
    save_file(weights, Path(folder, "model.safetensors"), {"format": "pt"})
    with pytest.raises(ValueError, match=r"lacks 1 weights, such as model.norm.weight; save the checkpoint again"):
        load(folder)


def test_a_quantisation_whose_library_is_missing_is_named(stored, monkeypatch):
    folder = stored("int8")

    def lacks(self, **given):
        raise ImportError("Using bitsandbytes needs bitsandbytes\nmore")

    monkeypatch.setattr("transformers.quantizers.quantizer_bnb_8bit.Bnb8BitHfQuantizer.validate_environment", lacks)
    with pytest.raises(
        ValueError, match="stored quantised as int8, which does not load here .Using bitsandbytes needs"
    ):
        load(folder)
