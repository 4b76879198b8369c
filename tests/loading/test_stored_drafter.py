"""A gated adapter on disk: its gate comes along through every door that opens it, and other doors stay shut."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModel, AutoModelForCausalLM
from transformers.dynamic_module_utils import get_class_from_dynamic_module

from planned_diffusion.cli.main import main
from planned_diffusion.generation.draft_adapter import KIND, is_gated, new_settings
from planned_diffusion.generation.draft_gate import ARGUMENT, backbone_of, gate_adapter, gate_of
from planned_diffusion.hub.export import export
from planned_diffusion.inference.answer import open_checkpoint
from planned_diffusion.loading.adapter_base import record_base
from planned_diffusion.loading.load import has_merged_form, load
from planned_diffusion.modeling_planned_diffusion import PlannedDiffusionForCausalLM

peft = pytest.importorskip("peft")
IDS, DRAFTS = torch.tensor([[5, 30, 44, 101, 101]]), torch.tensor([[False, False, False, True, True]])


@torch.no_grad()
def logits(model) -> torch.Tensor:
    return torch.cat([model(input_ids=IDS).logits, model(input_ids=IDS, **{ARGUMENT: DRAFTS}).logits])


def change_everything(model) -> None:
    """Give an adapter's layers weights that change what they return a lot."""
    torch.manual_seed(0)
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight.data, std=0.5)


@pytest.fixture
def stored(build_model, byte_tokenizer, tmp_path):
    """(logits without and with drafts of a model with a gated adapter, folder of the adapter, folder of the base)."""
    base, folder = str(tmp_path / "base"), str(tmp_path / "drafter")
    build_model().save_pretrained(base)
    for place in (base, folder):
        byte_tokenizer.save_pretrained(place)
    settings = new_settings(r=2, target_modules=["q_proj", "v_proj", "up_proj"], task_type="CAUSAL_LM")
    model = peft.get_peft_model(PlannedDiffusionForCausalLM.from_pretrained(base), settings).eval()
    change_everything(model)
    gate_adapter(model)
    model.save_pretrained(folder)
    record_base(Path(folder), base)
    return logits(model), folder, base


def by_name(folder: str, base: str):
    model = PlannedDiffusionForCausalLM.from_pretrained(base)
    model.load_adapter(folder, adapter_name="other")
    return model


def by_code_of_the_base(folder: str, base: str):
    """As whoever has no package, and trusts the code beside the weights."""
    reference = "modeling_planned_diffusion.PlannedDiffusionForCausalLM"
    model = get_class_from_dynamic_module(reference, base).from_pretrained(base)
    model.load_adapter(folder)
    return model


DOORS = {
    "AutoModelForCausalLM": lambda folder, base: AutoModelForCausalLM.from_pretrained(folder),
    "AutoModel": lambda folder, base: AutoModel.from_pretrained(folder),
    "code of the base": by_code_of_the_base,
    "load_adapter": by_name,
    "load": lambda folder, base: load(folder)[0],
    "the command line": lambda folder, base: open_checkpoint(folder).model,
}


@pytest.mark.parametrize("door", DOORS)
def test_every_door_brings_the_gate(door, stored, tmp_path):
    expected, folder, base = stored
    plain = logits(PlannedDiffusionForCausalLM.from_pretrained(base))
    model = DOORS[door](folder, base)
    found = logits(model)
    assert torch.equal(found[0].view(torch.int32), plain[0].view(torch.int32))
    assert torch.equal(found[1, :3].view(torch.int32), plain[0, :3].view(torch.int32))
    assert (found - plain)[1, 3:].abs().max() > 0.1
    torch.testing.assert_close(found, expected)
    assert type(model).__module__.startswith("transformers_modules") == (door == "code of the base")
    [settings] = model.peft_config.values()
    settings.save_pretrained(tmp_path / "again")  # as whoever saves the model does
    assert json.loads((tmp_path / "again/adapter_config.json").read_text())["peft_type"] == KIND


def test_it_is_stored_under_a_type_that_peft_alone_refuses(stored):
    _, folder, base = stored
    settings = json.loads((Path(folder) / "adapter_config.json").read_text())
    assert settings["peft_type"] == KIND == "DRAFT_ROWS_LORA"
    model = PlannedDiffusionForCausalLM.from_pretrained(base)
    with pytest.raises(KeyError, match=KIND):
        peft.PeftModel.from_pretrained(model, folder)
    with pytest.raises(KeyError, match=KIND):
        peft.PeftConfig.from_pretrained(folder)
    native = AutoModelForCausalLM.from_config(model.config.backbone_config)
    with pytest.raises(KeyError, match=KIND):
        native.load_adapter(folder)


def test_a_merged_form_is_refused_everywhere(stored, tmp_path, capsys):
    _, folder, _ = stored
    reason = r"drafter cannot be merged: a gated adapter acts on draft rows only, and .*: keep it beside its b"
    assert not has_merged_form(folder) and has_merged_form(stored[2])
    with pytest.raises(ValueError, match=reason):
        load(folder, merge=True)
    with pytest.raises(ValueError, match=reason):
        export(folder, tmp_path / "exported")
    assert main(["export", folder, str(tmp_path / "exported")]) == 2
    said = capsys.readouterr().err
    assert "cannot be merged: a gated adapter acts" in said and said.count("\n") == 1
    assert not (tmp_path / "exported").exists()
    with pytest.raises(ValueError, match="'default' cannot be merged: a gated adapter"):
        for layer in load(folder)[0].modules():
            if hasattr(layer, "lora_A"):
                layer.merge()


def test_the_command_line_answers_as_the_base(stored, capsys):
    _, folder, base = stored
    answers = []
    for model, decoding in ((base, "autoregressive"), (folder, "speculative")):
        given = ["generate", "Hi", "--model", model, "--decoding", decoding, "--max-new-tokens", "12"]
        assert main([*given, "--dtype", "float32"]) == 0
        answers.append(capsys.readouterr().out)
    assert answers[0] == answers[1] and answers[0].strip()


def test_a_base_with_other_weights_is_refused(stored):
    _, folder, base = stored
    file = Path(base) / "model.safetensors"
    weights = load_file(file)
    weights["model.norm.weight"][3] += 0.5
    save_file(weights, file, {"format": "pt"})
    with pytest.raises(ValueError, match="whose weights are no longer those that it was trained on"):
        load(folder)


@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
def test_adapters_have_the_type_of_their_base(dtype, stored):
    model = load(stored[1], dtype=dtype)[0]
    assert gate_of(backbone_of(model)) is not None
    assert {weight.dtype for weight in model.parameters()} == {getattr(torch, dtype)}


def change_settings(folder: str, **fields) -> None:
    file = Path(folder) / "adapter_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **fields}))


def test_settings_that_a_gate_does_not_cover_are_refused_in_a_sentence(stored, capsys):
    _, folder, _ = stored
    change_settings(folder, trainable_token_indices=[3])
    assert main(["generate", "Hi", "--model", folder]) == 2
    said = capsys.readouterr().err
    assert "trains LoRA on draft rows alone, and trainable_token_indices is set" in said and said.count("\n") == 1
    change_settings(folder, trainable_token_indices=None, a_field_of_tomorrow=1)
    with pytest.raises(ValueError, match="was written for another version of PEFT .*; run pip install -U peft"):
        load(folder)


def test_other_adapters_and_checkpoints_are_no_gated_ones(stored, tmp_path):
    _, folder, base = stored
    assert is_gated(folder) and not is_gated(base)
    model = PlannedDiffusionForCausalLM.from_pretrained(base)
    peft.get_peft_model(model, peft.LoraConfig(target_modules=["q_proj"])).save_pretrained(tmp_path / "plain")
    assert not is_gated(str(tmp_path / "plain"))
