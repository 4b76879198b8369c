"""Broken checkpoints are refused in one sentence, by the class, the Auto class and the command line."""

import importlib.util
import shutil
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from planned_diffusion.cli.main import main
from planned_diffusion.loading.load import load
from planned_diffusion.modeling_planned_diffusion import PlannedDiffusionForCausalLM

_spec = importlib.util.spec_from_file_location("broken_checkpoints", Path(__file__).parent / "broken_checkpoints.py")
broken_checkpoints = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(broken_checkpoints)
CASES, fields, layers = broken_checkpoints.CASES, broken_checkpoints.fields, broken_checkpoints.layers
# The class cannot tell; who also loads the tokenizer, generates, or reads the files of weights is told.
ONLY_FOR_THE_COMMAND_LINE = (
    "tokenizer", "a tag outside", "a tag twice", "another tokenizer's ids", "integers", "all integers", "booleans",
    "complex numbers", "a length of the tokenizer", "a class of the tokenizer", "a token of the tokenizer",
    "an EOS outside",
)  # fmt: skip
OTHERS = ("another kind of model", "no kind of model")  # the Auto classes know them as another package's


@pytest.fixture(scope="session")
def whole(build_model, byte_tokenizer, tmp_path_factory):
    """A folder with a checkpoint in one file ("good") and in several ("shards")."""
    folder, model = tmp_path_factory.mktemp("whole"), build_model("qwen3")
    for name, size in (("good", "5GB"), ("shards", "60KB")):
        model.save_pretrained(folder / name, max_shard_size=size)
        byte_tokenizer.save_pretrained(folder / name)
        for code in (folder / name).glob("*.py"):
            code.unlink()
    return folder


@pytest.fixture
def broken(whole, tmp_path):
    """broken(name of a case) -> the folder of that broken checkpoint."""

    def build(name: str) -> Path:
        source, change = CASES[name]
        folder = tmp_path / "broken"
        shutil.copytree(whole / source, folder)
        change(folder)
        return folder

    return build


def test_there_are_fifty_and_the_checkpoints_are_whole(whole, capsys):
    assert len(CASES) >= 50
    for name in ("good", "shards"):
        assert main(["generate", "Hi", "--model", str(whole / name), "--max-new-tokens", "2"]) == 0


@pytest.mark.parametrize("name", CASES)
def test_the_command_line(name, broken, capsys):
    folder = broken(name)
    assert main(["generate", "Hi", "--model", str(folder), "--max-new-tokens", "2"]) == 2
    said = capsys.readouterr()
    assert said.out == "" and said.err.startswith("error: ") and said.err.count("\n") == 1
    assert "Traceback" not in said.err and not said.err.startswith(("error: TypeError", "error: KeyError"))
    assert len(said.err) < 1000


@pytest.mark.filterwarnings("ignore:You are using a model of type")
@pytest.mark.parametrize("name", [name for name in CASES if not name.startswith(ONLY_FOR_THE_COMMAND_LINE)])
@pytest.mark.parametrize("loader", [PlannedDiffusionForCausalLM, AutoModelForCausalLM])
def test_the_classes(loader, name, broken):
    folder = broken(name)
    faults = (ValueError, OSError)
    if loader is AutoModelForCausalLM and name == "config.json a list":  # which older versions of it take for an object
        faults = (*faults, TypeError)
    with pytest.raises(faults) as caught:
        loader.from_pretrained(folder)
    assert str(caught.value).strip() and (name in OTHERS or "\n" not in str(caught.value).strip())


# The words


def test_integers(broken):
    with pytest.raises(ValueError, match=r"up_proj.weight as I8, and its config.json names no quantisation"):
        load(str(broken("integers")))


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("fewer layers", r"stores model.layers.1.input_layernorm.weight \(and 10 more\), which its config.json has no"),
        ("more layers", r"lacks 11 weights, such as model.layers.2.input_layernorm.weight"),
        ("one tensor too many", r"stores extra, which its config.json has no place for; take the config.json that"),
        ("a shape changed", r"up_proj.weight with shape \[127, 64\], and its config.json says \[128, 64\]"),
        (
            "a wider model",
            r"lm_head.weight \(and 20 more\) with shape \[112, 64\], and its config.json says \[112",
        ),
        ("weights cut in the middle", r"has a broken file of weights \(.*\); save the checkpoint again, or download"),
        ("generation_config.json cut off", r"generation_config.json is not JSON; save the checkpoint again"),
        ("no backbone", r"config.json has no backbone_config, an object with the decoder's own configuration"),
        ("an unknown backbone", r"backbone_config is that of no decoder \(Unrecognized model identifier: abacus\)"),
        ("heads of no width", r"backbone_config's head_dim is 0; give a number of at least 1"),
        ("less than no positions", r"backbone_config's max_position_embeddings is -1; give a number of at least 1"),
        ("a separator that is no text", r"span_separator is 5; give a text"),
        ("tied in words", r"tie_word_embeddings is 'yes'; give true or false"),
        ("digits that are no list", r"digit_token_ids of config.json is 5; list ten ids"),
        ("padding outside", r"pad_token_id is 500, and it has 112 rows; give one of them"),
        ("a negative width", r"intermediate_size is negative; give a size"),
        ("an unknown dtype", r"dtype of config.json is 'float12', which torch does not know"),
        ("a tag in words", r"sync_token_id of config.json is '<sync/>'; give the number of a token"),
    ],
)
def test_words(name, says, broken):
    with pytest.raises(ValueError, match=says):
        PlannedDiffusionForCausalLM.from_pretrained(broken(name))


def test_who_asks_for_the_differences_gets_them(broken, whole):
    folder = broken("fewer layers")
    model, info = PlannedDiffusionForCausalLM.from_pretrained(folder, output_loading_info=True)
    assert len(model.model.layers) == 1 and len(info["unexpected_keys"]) == 11
    fields("config.json", backbone_config__vocab_size=120)(folder)
    layers(2)(folder)
    model = PlannedDiffusionForCausalLM.from_pretrained(folder, ignore_mismatched_sizes=True)
    assert model.lm_head.weight.shape == (120, 64)
    good = PlannedDiffusionForCausalLM.from_pretrained(whole / "good")
    assert torch.equal(model.model.norm.weight, good.model.norm.weight)


def test_a_callers_mistake_stays_his(whole):
    with pytest.raises(TypeError, match="unexpected keyword argument 'colour'"):
        PlannedDiffusionForCausalLM.from_pretrained(whole / "good", colour="red")
