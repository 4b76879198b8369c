"""Broken adapters are refused in one sentence by every door; none is left out so that the base alone answers."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from planned_diffusion.cli.main import main
from planned_diffusion.loading.load import load
from planned_diffusion.modeling_planned_diffusion import PlannedDiffusionForCausalLM

peft = pytest.importorskip("peft")
SETTINGS, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
IDS = torch.tensor([[5, 9, 33]])

pytestmark = pytest.mark.filterwarnings("ignore")  # of PEFT, which warns and goes on


@pytest.fixture(scope="module")
def whole(build_model, byte_tokenizer, tmp_path_factory):
    """A folder with "base" and a good "adapter" on it."""
    folder = tmp_path_factory.mktemp("whole")
    build_model("qwen3").save_pretrained(folder / "base")
    model = PlannedDiffusionForCausalLM.from_pretrained(folder / "base")
    settings = peft.LoraConfig(r=2, target_modules=["q_proj", "v_proj"], init_lora_weights=False, task_type="CAUSAL_LM")
    peft.get_peft_model(model, settings).save_pretrained(folder / "adapter")
    for place in ("base", "adapter"):
        byte_tokenizer.save_pretrained(folder / place)
    return folder


def settings(**changes: object) -> Callable[[Path], object]:
    def change(folder: Path) -> None:
        stored = json.loads((folder / SETTINGS).read_text())
        (folder / SETTINGS).write_text(json.dumps(stored | changes))

    return change


def tensors(change: Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]]) -> Callable[[Path], object]:
    def rewrite(folder: Path) -> None:
        stored = change(load_file(folder / WEIGHTS))
        save_file({name: tensor.contiguous() for name, tensor in stored.items()}, folder / WEIGHTS, {"format": "pt"})

    return rewrite


def content(change: Callable[[bytes], bytes]) -> Callable[[Path], object]:
    return lambda folder: (folder / WEIGHTS).write_bytes(change((folder / WEIGHTS).read_bytes()))


def renamed(old: str, new: str) -> Callable[[Path], object]:
    return tensors(lambda stored: {name.replace(old, new): tensor for name, tensor in stored.items()})


# How it is broken -> (that, what is said)
BROKEN = {
    "missing": (lambda folder: (folder / WEIGHTS).unlink(), "lacks adapter_model.safetensors, the adapter's weights"),
    "empty": (content(lambda whole: b""), "has a broken file of weights"),
    "cut in the header": (content(lambda whole: whole[:20]), "has a broken file of weights"),
    "cut at the end": (content(lambda whole: whole[:-4]), "has a broken file of weights"),
    "noise": (content(lambda whole: bytes(range(256)) * 9), "has a broken file of weights"),
    "a pointer of LFS": (content(lambda whole: b"version https://git-lfs.github.com/spec/v1\n"), "has a broken file"),
    "no tensors": (tensors(lambda stored: {}), "stores no tensors"),
    "others": (tensors(lambda stored: {"x": torch.zeros(1)}), r"lacks model.layers.0.self_attn.q_proj.lora_A.weight"),
    "one lacking": (tensors(lambda stored: dict([*stored.items()][1:])), r"lacks model.layers.0.self_attn.q_proj.lora"),
    "one more": (tensors(lambda stored: {**stored, "base_model.model.extra": torch.zeros(2)}), "stores extra, and its"),
    "another layer": (renamed("layers.1", "layers.7"), r"lacks model.layers.1.self_attn.q_proj.lora_A.weight \(and 3"),
    "another module": (renamed("v_proj", "k_proj"), r"lacks model.layers.0.self_attn.v_proj.lora_A.weight \(and 3"),
    "without the prefix": (renamed("base_model.model.", "other."), r"lacks .* \(and 7 more\)"),
    "integers": (
        tensors(lambda stored: {name: tensor.to(torch.int8) for name, tensor in stored.items()}),
        r"stores .*lora_A.weight \(and 7 more\) as torch.int8, which no adapter can use",
    ),
    "fewer modules named": (settings(target_modules=["q_proj"]), r"stores model.layers.0.self_attn.v_proj.lora_A"),
    "more modules named": (settings(target_modules=["q_proj", "v_proj", "o_proj"]), r"lacks .*o_proj.lora_A.weight"),
    "one layer named": (settings(layers_to_transform=[0]), r"stores model.layers.1.self_attn.q_proj.lora_A.weight"),
}  # fmt: skip
# Those that PEFT itself refuses, in its own words to whoever does not load through this package.
REFUSED_BY_PEFT = {
    "another rank": (settings(r=4), "adapter's weights do not fit its base"),
    "a rank in words": (settings(r="two"), "adapter_config.json is broken or of another version of PEFT"),
    "a scale in words": (settings(lora_alpha="two"), "adapter_config.json is broken or of another version of PEFT"),
    "no rank": (settings(r=0), "positive integer"),
    "no such module": (settings(target_modules=["nope"]), "not found in the base model"),
    "no such layer": (settings(layers_to_transform=[9]), "not found in the base model"),
    "an unknown kind": (settings(peft_type="MAGIC"), "another version of PEFT .KeyError: 'MAGIC'"),
    "no kind": (settings(peft_type=None), "another version of PEFT"),
}


@pytest.fixture
def broken(whole, tmp_path):
    """broken(how) -> the folder of an adapter that is broken in that way."""

    def build(how: Callable[[Path], object]) -> str:
        folder = tmp_path / "adapter"
        shutil.copytree(whole / "adapter", folder)
        how(folder)
        return str(folder)

    return build


def by_name(folder: str):
    model = PlannedDiffusionForCausalLM.from_pretrained(
        json.loads(Path(folder, SETTINGS).read_text())["base_model_name_or_path"]
    )
    model.load_adapter(folder, adapter_name="other")
    return model


DOORS = {
    "the package": lambda folder: load(folder)[0],
    "merged": lambda folder: load(folder, merge=True)[0],
    "AutoModelForCausalLM": AutoModelForCausalLM.from_pretrained,
    "load_adapter": by_name,
}


@pytest.mark.parametrize("door", DOORS)
def test_a_good_one_changes_the_logits(door, whole):
    plain = PlannedDiffusionForCausalLM.from_pretrained(whole / "base")(input_ids=IDS).logits
    adapted = DOORS[door](str(whole / "adapter"))(input_ids=IDS).logits
    assert (adapted - plain).abs().max() > 0.01


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("how", BROKEN)
def test_every_door_refuses(how, door, broken):
    change, says = BROKEN[how]
    folder = broken(change)
    with pytest.raises(ValueError, match=says) as caught:
        DOORS[door](folder)
    assert folder in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("how", BROKEN | REFUSED_BY_PEFT)
def test_the_command_line_refuses_in_one_line(how, broken, capsys):
    change, _ = (BROKEN | REFUSED_BY_PEFT)[how]
    assert main(["generate", "Hi", "--model", broken(change), "--max-new-tokens", "2"]) == 2
    said = capsys.readouterr()
    assert said.out == "" and said.err.startswith("error: ") and said.err.count("\n") == 1


@pytest.mark.parametrize("how", REFUSED_BY_PEFT)
def test_the_package_says_what_peft_refuses(how, broken):
    change, says = REFUSED_BY_PEFT[how]
    with pytest.raises(ValueError, match=says):
        load(broken(change))


def test_rows_of_the_vocabulary_may_come_along(whole, tmp_path):
    """PEFT stores them where a vocabulary was resized."""
    shutil.copytree(whole / "adapter", tmp_path / "adapter")
    base = load_file(whole / "base/model.safetensors")
    rows = {"base_model.model.model.embed_tokens.weight": base["model.embed_tokens.weight"] + 1}
    tensors(lambda stored: {**stored, **rows})(tmp_path / "adapter")
    for door in DOORS.values():
        model = door(str(tmp_path / "adapter"))
        assert model.get_input_embeddings().weight.equal(rows["base_model.model.model.embed_tokens.weight"])
