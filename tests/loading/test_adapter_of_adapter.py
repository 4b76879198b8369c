"""An adapter whose base is an adapter, as a drafter of a planner is: the lower one is merged, whatever lies where."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from planned_diffusion.cli.main import main
from planned_diffusion.evaluation.untouched_base import untouched_base
from planned_diffusion.generation.draft_adapter import new_settings
from planned_diffusion.generation.draft_gate import ARGUMENT, gate_adapter
from planned_diffusion.hub.export import export
from planned_diffusion.loading.adapter_base import base_of, base_to_bring, record_base
from planned_diffusion.loading.bases import BASES
from planned_diffusion.loading.int8_weights import Int8Linear
from planned_diffusion.loading.load import load
from planned_diffusion.modeling_planned_diffusion import PlannedDiffusionForCausalLM

peft = pytest.importorskip("peft")
IDS, DRAFTS = torch.tensor([[5, 30, 44, 101, 101]]), torch.tensor([[False, False, False, True, True]])


@torch.no_grad()
def logits(model, **rows) -> torch.Tensor:
    return model(input_ids=IDS, **rows).logits


def add_adapter(base: str, folder: str, settings, seed: int) -> None:
    """Save an adapter of a checkpoint, which may be an adapter, with random weights that change a lot."""
    model, _ = load(base, "float32", merge=True)
    model.name_or_path = str(Path(base).resolve())
    adapted = peft.get_peft_model(model, settings)
    torch.manual_seed(seed)
    for name, weight in adapted.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight.data, std=0.3)
    adapted.save_pretrained(folder, save_embedding_layers=False)
    record_base(Path(folder), base)


@pytest.fixture
def places(build_model, byte_tokenizer, tmp_path):
    """base, planner (an adapter of it), and drafter and second (a gated and a usual adapter of planner)."""
    base, planner, drafter, second = (str(tmp_path / name) for name in ("base", "planner", "drafter", "second"))
    build_model().save_pretrained(base)
    byte_tokenizer.save_pretrained(base)
    fields = {"r": 2, "target_modules": ["q_proj", "v_proj", "up_proj"], "task_type": "CAUSAL_LM"}
    add_adapter(base, planner, peft.LoraConfig(**fields), seed=0)
    add_adapter(planner, drafter, new_settings(**fields), seed=1)
    add_adapter(planner, second, peft.LoraConfig(**fields), seed=2)
    return tmp_path


def at(places: Path, *names: str) -> list[str]:
    return [str(places / name) for name in names]


def test_a_drafter_stands_beside_weights_in_8_bits(places):
    """Its own matrices are not rounded; text rows are those of the planner, rounded alike."""
    _, planner, drafter = at(places, "base", "planner", "drafter")
    (drafting, _), (alone, _) = load(drafter, "w8a16"), load(planner, "w8a16", merge=True)
    rounded = [name for name, layer in drafting.named_modules() if isinstance(layer, Int8Linear)]
    assert rounded and not any("lora" in name for name in rounded)
    text, beside = logits(alone), logits(drafting, **{ARGUMENT: DRAFTS})
    assert torch.equal(beside[~DRAFTS], text[~DRAFTS])
    assert not torch.allclose(beside[DRAFTS], text[DRAFTS])


def test_a_drafter_stands_beside_the_merged_planner(places):
    base, planner, drafter = at(places, "base", "planner", "drafter")
    lower = peft.PeftModel.from_pretrained(
        PlannedDiffusionForCausalLM.from_pretrained(base), planner
    ).merge_and_unload()
    text = logits(lower)
    assert (text - logits(PlannedDiffusionForCausalLM.from_pretrained(base))).abs().max() > 0.1
    beside = peft.PeftModel.from_pretrained(
        lower,
        drafter,
        config=new_settings(**json.loads((places / "drafter/adapter_config.json").read_text()) | {"peft_type": "LORA"}),
    )
    gate_adapter(beside)
    expected = logits(beside, **{ARGUMENT: DRAFTS})
    model, tokenizer = load(drafter, "float32")
    torch.testing.assert_close(logits(model), text)
    assert torch.equal(logits(model), logits(load(planner, "float32", merge=True)[0])), "not a bit of the text"
    found = logits(model, **{ARGUMENT: DRAFTS})
    torch.testing.assert_close(found, expected)
    assert (found - text)[0, 3:].abs().max() > 0.1
    assert len(tokenizer) == len(load(base)[1]), "neither adapter has a tokenizer: the base's serves"


def test_usual_adapters_on_adapters_merge(places):
    second = at(places, "second")[0]
    merged, beside = load(second, "float32", merge=True)[0], load(second, "float32")[0]
    assert not [name for name, _ in merged.named_modules() if "lora" in name]
    torch.testing.assert_close(logits(merged), logits(beside), rtol=1e-4, atol=1e-4)
    export(second, places / "exported")
    torch.testing.assert_close(logits(load(str(places / "exported"))[0]), logits(merged), rtol=1e-4, atol=1e-4)


def test_adapters_are_found_after_all_moved(places, tmp_path):
    moved = tmp_path / "elsewhere"
    moved.mkdir()
    for name in ("base", "planner", "drafter"):
        shutil.move(places / name, moved / name)
    assert Path(base_of(str(moved / "drafter"))).resolve() == moved / "planner"
    load(str(moved / "drafter"))
    assert Path(untouched_base(str(moved / "drafter"))).resolve() == moved / "base"


@pytest.mark.parametrize("changed", ["planner/adapter_model.safetensors", "base/model.safetensors"])
def test_other_weights_below_are_refused(changed, places):
    weights = load_file(places / changed)
    name = sorted(weights)[-1]
    weights[name].view(-1)[0] += 0.5
    save_file(weights, places / changed, {"format": "pt"})
    below = changed.partition("/")[0]
    with pytest.raises(ValueError, match=rf"is an adapter of \S*{below}, whose weights are no longer those"):
        load(str(places / "drafter"))


def test_quantised_weights_below_are_refused_in_a_sentence(places, capsys):
    pytest.importorskip("bitsandbytes")
    drafter = at(places, "drafter")[0]
    assert main(["generate", "Hi", "--model", drafter, "--dtype", "int8"]) == 2
    said = capsys.readouterr().err
    assert "planner, which cannot be merged into quantised weights; load it in bfloat16" in said
    assert said.count("\n") == 1


def test_a_base_by_name_below_both_is_brought(places, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(places / "cache"))
    shutil.rmtree(places / "base")
    (places / "planner/adapter_base.json").write_text('{"base": "smollm2"}')
    assert base_to_bring(str(places / "drafter")) is BASES["smollm2"]
    with pytest.raises(ValueError, match="is an adapter of smollm2, which has not been converted on this machine"):
        load(str(places / "drafter"))
