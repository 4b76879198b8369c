"""An adapter finds its own base, wherever it is loaded from, and no other."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from planned_diffusion.cli.main import main
from planned_diffusion.hub.convert import base_conversion
from planned_diffusion.loading import bases
from planned_diffusion.loading.adapter_base import RECORD, base_of, check_base, hash_of_weights, record_base
from planned_diffusion.loading.load import load
from planned_diffusion.modeling_planned_diffusion import PlannedDiffusionForCausalLM

peft = pytest.importorskip("peft")


@pytest.fixture
def places(build_model, byte_tokenizer, tmp_path, monkeypatch):
    """A folder "work" with the base "base" and its adapter "runs/adapter", as training leaves it; cwd is elsewhere."""
    work = tmp_path / "work"
    build_model("qwen3").save_pretrained(work / "base")
    byte_tokenizer.save_pretrained(work / "base")
    model = PlannedDiffusionForCausalLM.from_pretrained(work / "base")
    settings = peft.LoraConfig(r=2, target_modules=["q_proj"], init_lora_weights=False, task_type="CAUSAL_LM")
    peft.get_peft_model(model, settings).save_pretrained(work / "runs/adapter")
    byte_tokenizer.save_pretrained(work / "runs/adapter")
    record_base(work / "runs/adapter", str(work / "base"))
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    return work


def name_base(adapter: Path, name: object, keep_record: bool = True) -> None:
    file = adapter / "adapter_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "base_model_name_or_path": name}))
    if not keep_record:
        (adapter / RECORD).unlink()


def change_weights(folder: Path) -> None:
    """Change one number of a checkpoint."""
    stored = load_file(folder / "model.safetensors")
    stored["model.norm.weight"][3] += 0.5
    save_file(stored, folder / "model.safetensors", {"format": "pt"})


@pytest.mark.parametrize("name", ["absolute", "base", "../../base", "runs/../base"])
@pytest.mark.parametrize("keep_record", [True, False], ids=["today's", "without a hash"])
def test_found_from_anywhere(name, keep_record, places):
    adapter = places / "runs/adapter"
    name_base(adapter, str(places / "base") if name == "absolute" else name, keep_record)
    assert Path(base_of(str(adapter))).resolve() == (places / "base").resolve()
    load(str(adapter))


def test_found_when_both_have_moved(places, tmp_path):
    places.rename(tmp_path / "moved")
    adapter = tmp_path / "moved/runs/adapter"
    assert Path(base_of(str(adapter))).resolve() == tmp_path / "moved/base"
    load(str(adapter))


def test_a_folder_of_that_name_in_the_current_folder_is_not_taken(places, tmp_path, capsys):
    shutil.copytree(places / "base", "other/base")
    name_base(places / "runs/adapter", "other/base", keep_record=False)
    with pytest.raises(ValueError, match="is an adapter of other/base, and there is no such checkpoint"):
        base_of(str(places / "runs/adapter"))
    (tmp_path / "elsewhere/other").rename(tmp_path / "elsewhere/another")
    assert base_of(str(places / "runs/adapter")) == "other/base"  # a Hub repository, if anything
    name_base(places / "runs/adapter", "./other/base")
    (places / "base").rename(places / "gone")
    assert main(["generate", "Hi", "--model", str(places / "runs/adapter")]) == 2
    said = capsys.readouterr().err
    assert "is an adapter of ./other/base, and there is no such checkpoint; put it back" in said


@pytest.mark.parametrize("name", ["/nowhere/base", "base-that-is-gone", "~/nobody/base", "./base-that-is-gone"])
def test_a_base_that_is_gone_is_named(name, places, capsys):
    (places / "base").rename(places / "gone")
    name_base(places / "runs/adapter", name)
    assert main(["generate", "Hi", "--model", str(places / "runs/adapter")]) == 2
    said = capsys.readouterr().err
    assert f"it is an adapter of {name}, and there is no such checkpoint" in said and said.count("\n") == 1


@pytest.mark.parametrize("name", [None, "", 5, ["base"]])
def test_a_base_that_is_not_named(name, places, capsys):
    name_base(places / "runs/adapter", name)
    assert main(["generate", "Hi", "--model", str(places / "runs/adapter")]) == 2
    said = capsys.readouterr().err
    assert "adapter_config.json names no base model (base_model_name_or_path); write the path" in said


@pytest.mark.parametrize("file", ["adapter_config.json", RECORD])
@pytest.mark.parametrize("text", ["{", "[]", ""])
def test_broken_files(file, text, places, capsys):
    (places / "runs/adapter" / file).write_text(text)
    assert main(["generate", "Hi", "--model", str(places / "runs/adapter")]) == 2
    said = capsys.readouterr().err
    assert file in said and said.count("\n") == 1


def test_a_base_with_other_weights_is_refused(places):
    adapter = places / "runs/adapter"
    change_weights(places / "base")
    with pytest.raises(ValueError, match=r"is an adapter of .*base, whose weights are no longer those that it was tra"):
        load(str(adapter))
    (adapter / RECORD).unlink()
    load(str(adapter))  # as adapters of others are, which have no hash


def test_the_hash_is_that_of_the_weights_alone(places, tmp_path):
    model = PlannedDiffusionForCausalLM.from_pretrained(places / "base")
    model.save_pretrained(tmp_path / "shards", max_shard_size="60KB")
    assert len(list((tmp_path / "shards").glob("*.safetensors"))) > 2
    assert hash_of_weights(tmp_path / "shards") == hash_of_weights(places / "base")
    check_base(str(places / "runs/adapter"), str(tmp_path / "shards"))
    model.to(torch.bfloat16).save_pretrained(tmp_path / "rounded")
    assert hash_of_weights(tmp_path / "rounded") != hash_of_weights(places / "base")


def test_of_a_large_tensor_rows_from_the_first_to_the_last_count(tmp_path):
    """And it is the bytes that count, not how tensors lie in files."""
    large = torch.arange(2.0 * (1 << 16)).reshape(512, 256)
    file = tmp_path / "model.safetensors"
    hashes = []
    for row in (None, 0, 511):
        changed = large.clone()
        if row is not None:
            changed[row, 7] += 1
        save_file({"large": changed, "other": torch.ones(3)}, file)
        hashes.append(hash_of_weights(tmp_path))
    assert len(set(hashes)) == 3
    file.unlink()
    save_file({"large": large}, tmp_path / "model-00001-of-00002.safetensors")
    save_file({"other": torch.ones(3)}, tmp_path / "model-00002-of-00002.safetensors")
    assert hash_of_weights(tmp_path) == hashes[0]


@pytest.mark.parametrize("name", ["runs/gone", "../gone", "/gone/base", "gone/", "gone"])
def test_a_path_that_is_gone_is_never_asked_for_on_the_hub(name, places):
    name_base(places / "runs/adapter", name, keep_record=False)
    with pytest.raises(ValueError, match=f"it is an adapter of {name}, and there is no such checkpoint"):
        base_of(str(places / "runs/adapter"))


def test_an_adapter_of_another_model_is_refused(places, build_model):
    build_model("qwen3", backbone={"num_attention_heads": 2}).save_pretrained(places / "other")
    name_base(places / "runs/adapter", str(places / "other"), keep_record=False)
    with pytest.raises(ValueError, match="the adapter's weights do not fit its base"):
        load(str(places / "runs/adapter"))


def test_an_adapter_has_its_own_generation_defaults(places):
    adapter, file = places / "runs/adapter", "generation_config.json"
    base = load(str(places / "base"))[0].generation_config
    assert load(str(adapter))[0].generation_config.to_diff_dict() == base.to_diff_dict()
    (adapter / file).write_text(json.dumps({"decoding": "parallel_autoregressive", "max_new_tokens": 77}))
    own = load(str(adapter))[0].generation_config
    assert (own.decoding, own.max_new_tokens) == ("parallel_autoregressive", 77)
    (adapter / file).write_text('{"max_new_tokens": 7')
    with pytest.raises(ValueError, match=f"{file} is not JSON"):
        load(str(adapter))


# Bases by name


@pytest.fixture
def on_smollm2(places, tmp_path, monkeypatch):
    """(adapter, cache): an adapter on the base smollm2, whose conversion lies in this machine's cache."""
    monkeypatch.setenv(bases.CACHE_VARIABLE, str(tmp_path / "cache"))
    base = bases.BASES["smollm2"].from_wheel
    base.parent.mkdir(parents=True)
    (places / "base").rename(base)
    adapter = places / "runs/adapter"
    (adapter / RECORD).unlink()
    name_base(adapter, str(base), keep_record=True)
    record_base(adapter, str(base))
    return adapter, tmp_path / "cache"


def test_a_base_by_name_is_stored_by_name_with_a_hash(on_smollm2):
    adapter, cache = on_smollm2
    record = json.loads((adapter / RECORD).read_text())
    assert record == {"weights_sha256": hash_of_weights(bases.BASES["smollm2"].from_wheel), "base": "smollm2"}


@pytest.mark.parametrize("keep_record", [True, False], ids=["today's", "without a name"])
def test_a_base_by_name_is_found_on_another_machine(keep_record, on_smollm2, tmp_path, monkeypatch):
    adapter, cache = on_smollm2
    if not keep_record:
        (adapter / RECORD).unlink()
    cache.rename(tmp_path / "elsewhere/another")
    with pytest.raises(
        ValueError, match="adapter of smollm2, which has not been converted .*; run planned-diffusion ge"
    ):
        load(str(adapter))
    monkeypatch.setenv(bases.CACHE_VARIABLE, str(tmp_path / "elsewhere/another"))
    assert base_of(str(adapter)) == str(bases.BASES["smollm2"].from_wheel)
    load(str(adapter))


def test_another_conversion_is_refused_by_its_hash(on_smollm2):
    adapter, _ = on_smollm2
    smollm2 = bases.BASES["smollm2"]
    shutil.copytree(smollm2.from_wheel, smollm2.from_hub)
    change_weights(smollm2.from_hub)
    load(str(adapter))  # the one that it was trained on
    shutil.rmtree(smollm2.from_wheel)
    with pytest.raises(ValueError, match="whose weights are no longer those that it was trained on"):
        load(str(adapter))


def test_the_command_line_brings_it(on_smollm2, monkeypatch, capsys):
    adapter, _ = on_smollm2
    smollm2, brought = bases.BASES["smollm2"], []
    away = smollm2.from_wheel.rename(smollm2.from_wheel.with_name("away"))

    def bring(base, show):
        brought.append(base.name)
        shutil.copytree(away, base.from_wheel)

    monkeypatch.setattr(base_conversion, "bring", bring)
    for _ in range(2):
        assert main(["generate", "Hi", "--max-new-tokens", "4", "--model", str(adapter)]) == 0
    assert brought == ["smollm2"] and "smollm2 is made from" in capsys.readouterr().err


def test_the_same_folder_name_elsewhere_is_stored_as_a_path(places, tmp_path, monkeypatch):
    monkeypatch.setenv(bases.CACHE_VARIABLE, str(tmp_path / "cache"))
    copy = places / bases.BASES["smollm2"].from_wheel.name
    (places / "base").rename(copy)
    record_base(places / "runs/adapter", str(copy))
    assert "base" not in json.loads((places / "runs/adapter" / RECORD).read_text())
