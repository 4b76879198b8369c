"""Exported folders: what lies in them, that they are exact and repeatable, and what is refused or left alone."""

import json

import pytest
import torch
import transformers
import yaml
from safetensors.torch import load_file, save_file
from transformers import AutoTokenizer

from planned_diffusion.cli.main import main
from planned_diffusion.hub import export as module
from planned_diffusion.hub.carried import owned_files
from planned_diffusion.hub.export import export
from planned_diffusion.hub.flat import AUTO_MAP, STARTER, ExportError, flat_code
from planned_diffusion.modeling_planned_diffusion import PlannedDiffusionForCausalLM


def contents(folder) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def test_the_embedded_checkpoint_is_its_own_export(embedded, tmp_path):
    exported = export(str(embedded), tmp_path / "out")
    written, shipped = contents(tmp_path / "out"), contents(embedded)
    assert sorted(written) == list(exported.files) == sorted(set(shipped) - {f"{STARTER}.py"})
    may_differ = {"tokenizer_config.json", "config.json"}
    stored, was = (json.loads(folder["config.json"]) for folder in (written, shipped))
    different = {"auto_map", "transformers_version"}
    if was["transformers_version"] == transformers.__version__:
        assert stored.keys() == was.keys()
        assert all(stored[name] == was[name] for name in stored.keys() - different)
    assert stored["auto_map"] == AUTO_MAP
    if json.loads(shipped["config.json"])["transformers_version"] != transformers.__version__:
        may_differ |= {"config.json", "generation_config.json"}  # other versions write other fields
    assert {name for name in written if written[name] != shipped[name]} <= may_differ
    settings, was = (json.loads(folder["tokenizer_config.json"]) for folder in (written, shipped))
    assert settings == {name: value for name, value in was.items() if name not in ("is_local", "local_files_only")}
    assert exported.notes == () and sorted(file.name for file in tmp_path.iterdir()) == ["out"]


def test_what_a_stranger_needs_is_set(tiny, tmp_path):
    exported = export(str(tiny), tmp_path / "deep" / "out")
    fields = json.loads((exported.folder / "generation_config.json").read_text())
    assert fields["do_sample"] is False and fields["eos_token_id"] == 100
    assert fields.keys() == {"do_sample", "eos_token_id", "transformers_version"}  # defaults are not pinned
    assert json.loads((exported.folder / "config.json").read_text())["auto_map"] == AUTO_MAP
    assert AutoTokenizer.from_pretrained(exported.folder).padding_side == "left"
    assert exported.notes == ("The tokenizer has no chat template: pipelines and servers cannot take messages.",)
    assert {name: (exported.folder / name).read_bytes() for name in flat_code()} == flat_code()


def test_fields_that_the_owner_chose_are_kept(tiny, tmp_path):
    model = PlannedDiffusionForCausalLM.from_pretrained(tiny)
    fields = model.generation_config
    fields.do_sample, fields.eos_token_id, fields.confidence_threshold, fields.seed = True, [100, 3], 0.7, 5
    model.save_pretrained(tiny)
    tokenizer = AutoTokenizer.from_pretrained(tiny)
    tokenizer.chat_template = "{% for message in messages %}{{ message['content'] }}{% endfor %}"
    tokenizer.save_pretrained(tiny)
    exported = export(str(tiny), tmp_path / "out")
    again = PlannedDiffusionForCausalLM.from_pretrained(exported.folder).generation_config
    assert (again.do_sample, again.eos_token_id, again.confidence_threshold, again.seed) == (True, [100, 3], 0.7, 5)
    assert exported.notes[0].startswith("The chat template has no {% generation %} marks")


def test_weights_in_shards_are_the_same_weights(tiny, tmp_path):
    folder = export(str(tiny), tmp_path / "out", max_shard_size="100KB").folder
    assert len(list(folder.glob("model-*.safetensors"))) > 1
    whole = load_file(tiny / "model.safetensors")
    parts = {name: tensor for file in folder.glob("*.safetensors") for name, tensor in load_file(file).items()}
    assert parts.keys() == whole.keys() and all(torch.equal(parts[name], whole[name]) for name in whole)


# Over an earlier export


def test_an_earlier_export_is_replaced_and_what_it_did_not_write_stays(tiny, tmp_path):
    out = tmp_path / "out"
    export(str(tiny), out, max_shard_size="100KB")
    for name in ("README.md", "results.json", "generation_of_another_version.py", "mine.py"):
        (out / name).write_text("mine")
    (out / "figures").mkdir()
    (out / "figures" / "a.png").write_text("mine")
    exported = export(str(tiny), out)
    assert {file.name for file in out.iterdir()} == {
        *exported.files, "README.md", "results.json", "mine.py", "figures",
    }  # fmt: skip
    assert (out / "figures" / "a.png").read_text() == "mine" and (out / "model.safetensors").is_file()


def test_a_failure_leaves_the_destination_as_it_was(tiny, tmp_path, monkeypatch):
    out = tmp_path / "out"
    before = contents(export(str(tiny), out).folder)

    def fail(folder):
        raise ExportError("no")

    monkeypatch.setattr(module, "check_loadable", fail)
    for folder in (out, tmp_path / "other"):
        with pytest.raises(ExportError):
            export(str(tiny), folder)
    assert contents(out) == before and not (tmp_path / "other").exists()
    assert sorted(file.name for file in tmp_path.iterdir()) == ["out", "tiny"]


def test_a_failing_rename_puts_the_earlier_export_back(tiny, tmp_path, monkeypatch):
    out = tmp_path / "out"
    before, rename = contents(export(str(tiny), out).folder), module.os.rename

    def sometimes(source, target):
        if source.name == "export":
            raise OSError("disk full")
        rename(source, target)

    monkeypatch.setattr(module.os, "rename", sometimes)
    with pytest.raises(OSError, match="disk full"):
        export(str(tiny), out)
    assert contents(out) == before


def test_a_checkpoint_that_is_no_export_is_replaced_only_on_demand(tiny, tmp_path):
    for name in ("modeling_planned_diffusion.py", "chat_template.jinja"):
        (tiny / name).unlink(missing_ok=True)
    with pytest.raises(ValueError, match="holds a checkpoint that is no export; give --overwrite"):
        export(str(tiny), tiny)
    export(str(tiny), tiny, overwrite=True)
    assert (tiny / "modeling_planned_diffusion.py").is_file()


@pytest.mark.parametrize("overwrite", [False, True])
def test_other_folders_and_files_are_never_replaced(tiny, tmp_path, overwrite):
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "diary.txt").write_text("dear")
    with pytest.raises(ValueError, match="holds other files and no checkpoint"):
        export(str(tiny), tmp_path / "notes", overwrite=overwrite)
    with pytest.raises(ValueError, match="is a file; name a folder"):
        export(str(tiny), tmp_path / "notes" / "diary.txt", overwrite=overwrite)


# The owner's files

OWNED = {
    "README.md": "---\nlicense: mit\ndatasets: [me/data]\nlanguage: fr\n---\n# Mine\n",
    "results.json": "{}",
    "LICENSE": "MIT",
}


@pytest.mark.parametrize("names", [(), ("README.md",), ("LICENSE", "results.json"), tuple(OWNED)])
def test_the_owners_files_are_carried_over_word_for_word(names, tiny, tmp_path):
    for name in names:
        (tiny / name).write_text(OWNED[name])
    (tiny / "trainer_state.json").write_text("private")
    exported = export(str(tiny), tmp_path / "out")
    assert {name: (exported.folder / name).read_text() for name in names} == {name: OWNED[name] for name in names}
    assert set(exported.files) & {*OWNED, "trainer_state.json"} == set(names)


@pytest.mark.parametrize("name", OWNED)
def test_a_file_that_was_edited_in_the_export_stays_and_a_note_says_so(name, tiny, tmp_path):
    (tiny / name).write_text(OWNED[name])
    out = tmp_path / "out"
    first = export(str(tiny), out).notes
    assert export(str(tiny), out).notes == first and (out / name).read_text() == OWNED[name]
    (out / name).write_text("edited")
    notes = export(str(tiny), out).notes
    assert (out / name).read_text() == "edited" and (tiny / name).read_text() == OWNED[name]
    assert notes[len(first) :] == (
        f"{out / name} stays as it is; remove it before you export to get the one of {tiny}.",
    )
    (out / name).unlink()
    assert export(str(tiny), out).notes == first and (out / name).read_text() == OWNED[name]


def test_a_checkpoint_exported_in_place_keeps_its_card(tiny):
    (tiny / "README.md").write_text(OWNED["README.md"])
    first = export(str(tiny), tiny, overwrite=True).notes
    assert (tiny / "README.md").read_text() == OWNED["README.md"] and "stays" not in " ".join(first)


PEFT_CARD = (
    "---\nbase_model: /home/me/base\nlibrary_name: peft\ntags:\n- lora\n---\n# Model\n[More Information Needed]\n"
)
OWN_CARD = (
    "---\nlicense: mit\nlibrary_name: peft\nbase_model: me/base\nbase_model_relation: adapter\ndatasets: [me/data]\n"
    "tags: [lora, base_model:adapter:me/base, mine]\n---\n\n# My adapter\n"
)


@pytest.mark.parametrize(
    ("card", "fields", "text"),
    [
        (None, {"license": "apache-2.0", "language": "en"}, ""),
        (PEFT_CARD, {"license": "apache-2.0", "language": "en"}, ""),
        ("# Mine\n", {"license": "apache-2.0", "language": "en"}, "# Mine"),
        (
            OWN_CARD,
            {"license": "mit", "language": "en", "base_model": "me/base", "datasets": ["me/data"], "tags": ["mine"]},
            "# My adapter",
        ),
    ],
    ids=["none", "template", "text", "whole"],
)
def test_a_merged_adapter_has_its_own_card_completed_by_that_of_its_base(card, fields, text, own_adapter, tmp_path):
    (own_adapter / "README.md").unlink(missing_ok=True)
    if card is not None:
        (own_adapter / "README.md").write_text(card)
    written = (export(str(own_adapter), tmp_path / "out").folder / "README.md").read_text()
    _, head, rest = written.split("---\n", 2)
    assert yaml.safe_load(head) == fields and rest.strip() == text


def test_an_adapter_without_a_card_on_a_base_without_one_has_none(tmp_path):
    (tmp_path / "base").mkdir()
    (tmp_path / "adapter").mkdir()
    assert owned_files(str(tmp_path / "adapter"), str(tmp_path / "base")) == {}
    (tmp_path / "base" / "LICENSE").write_text("MIT")
    assert owned_files(str(tmp_path / "adapter"), str(tmp_path / "base")) == {"LICENSE": b"MIT"}


# Refusals


def test_tags_must_be_special_tokens_and_agree_with_the_config(tiny, tmp_path, byte_tokenizer):
    config = json.loads((tiny / "tokenizer.json").read_text())
    for token in config["added_tokens"]:
        token["special"] = token["special"] and token["content"] != "<sync/>"
    (tiny / "tokenizer.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match="has <sync/> as ordinary tokens, so answers would show them"):
        export(str(tiny), tmp_path / "out")
    byte_tokenizer.save_pretrained(tiny)
    config = json.loads((tiny / "config.json").read_text())
    (tiny / "config.json").write_text(json.dumps({**config, "sync_token_id": 99}))
    with pytest.raises(ValueError, match="sync_token_id: config 99, tokenizer 106"):
        export(str(tiny), tmp_path / "out")


def test_what_is_no_checkpoint_is_refused(tiny, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="empty cannot be loaded"):
        export(str(tmp_path / "empty"), tmp_path / "out")
    weights = load_file(tiny / "model.safetensors")
    del weights["model.norm.weight"]
    save_file(weights, tiny / "model.safetensors", {"format": "pt"})
    with pytest.raises(ValueError, match=r"lacks 1 weights, such as model.norm.weight"):
        export(str(tiny), tmp_path / "out")
    (tiny / "config.json").write_text('{"model_type": "qwen2"}')
    with pytest.raises(ValueError, match=r"type qwen2, which cannot plan \(planned-diffusion convert makes one\)"):
        export(str(tiny), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_weights_in_other_formats_are_not_read(tiny):
    torch.save(load_file(tiny / "model.safetensors"), tiny / "pytorch_model.bin")
    (tiny / "model.safetensors").unlink()
    with pytest.raises(OSError, match="no file named model.safetensors"):
        PlannedDiffusionForCausalLM.from_pretrained(tiny)


def test_code_without_one_of_its_files_is_noticed(tmp_path):
    for name, content in flat_code().items():
        (tmp_path / name).write_bytes(content)
    module.check_loadable(tmp_path)
    (tmp_path / "generation_decoders_canvas.py").unlink()
    (tmp_path / "generation_decoders_planned.py").write_text("")
    with pytest.raises((ExportError, FileNotFoundError), match="generation_decoders_canvas.py"):
        module.check_loadable(tmp_path)


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        ({"quant_method": "bitsandbytes", "load_in_4bit": True, "bnb_4bit_quant_type": "nf4"}, "nf4"),
        ({"quant_method": "bitsandbytes", "load_in_8bit": True}, "int8"),
        ({"quant_method": "gptq", "bits": 4}, "gptq"),
        ({"quant_method": "fp8"}, "fp8"),
    ],
)
def test_what_is_stored_quantised_is_refused_before_it_is_loaded(settings, name, tiny, tmp_path, capsys):
    config = json.loads((tiny / "config.json").read_text())
    (tiny / "config.json").write_text(json.dumps({**config, "quantization_config": settings}))
    (tmp_path / "adapter").mkdir()
    (tmp_path / "adapter/adapter_config.json").write_text(json.dumps({"base_model_name_or_path": str(tiny)}))
    for source in (tiny, tmp_path / "adapter"):
        assert main(["export", str(source), str(tmp_path / "out")]) == 2
        said = capsys.readouterr().err
        assert str(tiny) in said and f"is stored quantised as {name}" in said
        assert said.count("\n") == 1 and not (tmp_path / "out").exists()
    assert main(["push", str(tiny), "user/x", "--license", "mit", "--no-run"]) == 2
    assert f"is stored quantised as {name}" in capsys.readouterr().err
