"""Weights as a stream: what is copied stays byte for byte, memory does not grow, an interruption leaves nothing."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from planned_diffusion.configuration_planned_diffusion import PlannedDiffusionConfig
from planned_diffusion.hub.convert import weight_files as convert_weights
from planned_diffusion.hub.convert import weight_rows as convert_rows
from planned_diffusion.hub.convert.convert import convert
from planned_diffusion.hub.convert.source_config import read_config
from planned_diffusion.hub.convert.weight_files import Rows, read_stored, write_file
from planned_diffusion.modeling_planned_diffusion import PlannedDiffusionForCausalLM


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_shards_and_index_keep_their_names(native_folder, tmp_path):
    source, out = tmp_path / "source", tmp_path / "out"
    native_folder(source, shard="10KB")
    report = convert(source, out)
    shards = [name for name in names(source) if name.endswith(".safetensors")]
    assert len(shards) == report.shards > 3 and set(shards) <= set(names(out))
    before, after = (json.loads((path / convert_weights.INDEX).read_text()) for path in (source, out))
    assert after["weight_map"] == before["weight_map"]
    new_bytes = 2 * (320 - 259) * 16 * 4
    assert after["metadata"]["total_size"] == before["metadata"]["total_size"] + new_bytes
    changed = {before["weight_map"][name] for name in (convert_rows.EMBEDDING, convert_rows.HEAD)}
    for name in set(shards) - changed:
        assert (out / name).read_bytes() == (source / name).read_bytes()
    for name in changed:
        with safe_open(source / name, "pt") as old, safe_open(out / name, "pt") as new:
            assert list(new.keys()) == list(old.keys()) and new.metadata() == {"format": "pt"}
            for key in old.keys():  # noqa: SIM118
                assert new.get_tensor(key)[:259].equal(old.get_tensor(key)[:259])


def test_one_file_stays_one_file(native_folder, tmp_path):
    native_folder(tmp_path / "source")
    (tmp_path / "source" / "LICENSE").write_text("Do as you like.")
    convert(tmp_path / "source", tmp_path / "out")
    assert [name for name in names(tmp_path / "out") if not name.endswith(".py")] == [
        "LICENSE", "README.md", "chat_template.jinja", "config.json", "generation_config.json", "model.safetensors",
        "tokenizer.json", "tokenizer_config.json",
    ]  # fmt: skip


def test_converting_twice_gives_the_same_bytes(native_folder, tmp_path):
    native_folder(tmp_path / "source", shard="10KB")
    for name in ("one", "two"):
        convert(tmp_path / "source", tmp_path / name)
    assert names(tmp_path / "one") == names(tmp_path / "two")
    for name in names(tmp_path / "one"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


@pytest.mark.parametrize("piece", [1, 7, 1 << 20])
def test_pieces_of_any_size(piece, tmp_path, monkeypatch):
    monkeypatch.setattr(convert_weights, "PIECE", piece)
    tensors = {"a": torch.arange(12.0).view(4, 3), "b": torch.tensor(2.0), "c": torch.arange(5).to(torch.bfloat16)}
    save_file(tensors, tmp_path / "model.safetensors", metadata={"format": "pt", "more": "words"})
    stored = read_stored(tmp_path)
    row, heard = torch.tensor([7.0, 8.0, 9.0]), []
    rows = {"a": Rows(6, dict.fromkeys((1, 4, 5), row.numpy().tobytes()))}
    kept = {name: tensor for name, tensor in stored.items() if name != "b"}
    write_file(tmp_path / "model.safetensors", tmp_path / "new.safetensors", kept, rows, heard.append)
    new = load_file(tmp_path / "new.safetensors")
    expected = torch.cat([tensors["a"], torch.zeros(2, 3)])
    expected[[1, 4, 5]] = row
    assert new.keys() == {"a", "c"} and new["a"].equal(expected) and new["c"].equal(tensors["c"])
    assert sum(heard) == 12 * 4 + 5 * 2
    with safe_open(tmp_path / "new.safetensors", "pt") as file:
        assert file.metadata() == {"format": "pt", "more": "words"}


def test_a_tied_head_that_is_stored_as_well_is_left_out(native_folder, tmp_path):
    source = tmp_path / "source"
    native = native_folder(source, tie=True)
    weights = load_file(source / "model.safetensors")
    head = {"lm_head.weight": weights["model.embed_tokens.weight"].clone()}
    save_file({**weights, **head}, source / "model.safetensors", metadata={"format": "pt"})
    convert(source, tmp_path / "out")
    assert "lm_head.weight" not in load_file(tmp_path / "out" / "model.safetensors")
    ours = PlannedDiffusionForCausalLM.from_pretrained(tmp_path / "out")
    assert ours.lm_head.weight[:259].equal(native.lm_head.weight)
    save_file({**weights, "lm_head.weight": head["lm_head.weight"] + 1}, source / "model.safetensors")
    with pytest.raises(ValueError, match="head is the embedding, but the checkpoint stores another.*set tie_word_emb"):
        convert(source, tmp_path / "other")
    save_file({**weights, "lm_head.weight": head["lm_head.weight"][:9].clone()}, source / "model.safetensors")
    with pytest.raises(ValueError, match="stores another head"):
        convert(source, tmp_path / "other")


def test_what_the_configuration_gives_is_left_out(native_folder, tmp_path):
    """Early Llama checkpoints store the rotary frequencies; transformers computes them."""
    source = tmp_path / "source"
    native = native_folder(source, "llama")
    weights = load_file(source / "model.safetensors")
    rotary = {f"model.layers.{layer}.self_attn.rotary_emb.inv_freq": torch.ones(4) for layer in range(2)}
    save_file({**weights, **rotary}, source / "model.safetensors", metadata={"format": "pt"})
    convert(source, tmp_path / "out")
    assert load_file(tmp_path / "out" / "model.safetensors").keys() == weights.keys()
    ids = torch.tensor([[5, 60, 33]])
    ours = PlannedDiffusionForCausalLM.from_pretrained(tmp_path / "out")
    torch.testing.assert_close(ours(ids).logits[..., :259], native(ids).logits)


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
@pytest.mark.parametrize("is_empty_folder", [True, False])
def test_an_interruption_leaves_nothing(error, is_empty_folder, native_folder, tmp_path):
    source, out = tmp_path / "source", tmp_path / "deep" / "out"
    native_folder(source, shard="10KB")
    if is_empty_folder:
        out.mkdir(parents=True)

    def stop(done, total):
        assert 0 < done <= total
        if done > total / 2:
            raise error

    with pytest.raises(error):
        convert(source, out, progress=stop)
    assert names(tmp_path / "deep") == (["out"] if is_empty_folder else [])
    assert not is_empty_folder or names(out) == []
    heard = []
    convert(source, out, progress=lambda done, total: heard.append((done, total)))
    assert heard[-1][0] == heard[-1][1] and names(tmp_path / "deep") == ["out"]
    PlannedDiffusionForCausalLM.from_pretrained(out)


def test_what_a_killed_conversion_left_is_replaced(native_folder, tmp_path):
    native_folder(tmp_path / "source")
    left = tmp_path / ".out.partial"
    left.mkdir()
    (left / "model.safetensors").write_bytes(b"half")
    convert(tmp_path / "source", tmp_path / "out")
    assert not left.exists()
    PlannedDiffusionForCausalLM.from_pretrained(tmp_path / "out")


@pytest.mark.slow
def test_memory_does_not_grow_with_the_checkpoint(tmp_path, native_folder):
    """An embedding and a head of 100 MB each, one file: less than a third of one on top of what the imports take."""
    source, hidden, rows = tmp_path / "source", 512, 49_152
    native_folder(source, "llama")  # for configuration and tokenizer
    config = json.loads((source / "config.json").read_text())
    config |= {"hidden_size": hidden, "head_dim": hidden // 2, "vocab_size": rows}
    (source / "config.json").write_text(json.dumps(config))
    with torch.device("meta"):
        model = PlannedDiffusionForCausalLM(PlannedDiffusionConfig(read_config(source).backbone))
    weights = {name: torch.zeros(tensor.shape) for name, tensor in model.state_dict().items()}
    save_file(weights, source / "model.safetensors", metadata={"format": "pt"})
    assert (source / "model.safetensors").stat().st_size > 200e6
    script = f"""
import resource, sys
from planned_diffusion.hub.convert.convert import convert
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
report = convert({str(source)!r}, {str(tmp_path / "out")!r})
assert report.rows_set == 7
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 2**10)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < 33  # MB


# Refusals


@pytest.fixture
def source(native_folder, tmp_path):
    native_folder(tmp_path / "source", shard="10KB")
    return tmp_path / "source"


def change(path: Path, **tensors) -> None:
    save_file({**load_file(path), **tensors}, path, metadata={"format": "pt"})


def first_shard(source: Path) -> Path:
    return sorted(source.glob("*.safetensors"))[0]


def test_pickled_weights_are_refused(source, tmp_path):
    for path in source.glob("model*"):
        path.unlink()
    with pytest.raises(ValueError, match="holds neither model.safetensors nor model.safetensors.index.json"):
        convert(source, tmp_path / "out")
    (source / "pytorch_model.bin").write_bytes(b"")
    with pytest.raises(ValueError, match="pickled files only, which can run code; load them .*save_pretrained"):
        convert(source, tmp_path / "out")


def test_missing_and_damaged_files_are_refused(source, tmp_path):
    shard = first_shard(source)
    content = shard.read_bytes()
    shard.write_bytes(content[:-10])
    with pytest.raises(ValueError, match=f"{shard.name} is damaged .*fetch it anew"):
        convert(source, tmp_path / "out")
    shard.unlink()
    with pytest.raises(ValueError, match=f"lacks {shard.name}, which its index names"):
        convert(source, tmp_path / "out")
    (source / convert_weights.INDEX).write_text("{}")
    with pytest.raises(ValueError, match="is no index of weights"):
        convert(source, tmp_path / "out")
    (source / convert_weights.INDEX).write_text(json.dumps({"weight_map": {"a": "../source/x.safetensors"}}))
    with pytest.raises(ValueError, match="lacks ../source/x.safetensors"):
        convert(source, tmp_path / "out")
    assert names(tmp_path) == ["source"]


def test_a_file_that_shrinks_while_it_is_read(tmp_path):
    save_file({"a": torch.zeros(9)}, tmp_path / "model.safetensors")
    stored = read_stored(tmp_path)
    content = (tmp_path / "model.safetensors").read_bytes()
    (tmp_path / "model.safetensors").write_bytes(content[:-4])
    with pytest.raises(ValueError, match="ended too early"):
        rows = {"a": Rows(10, {})}
        write_file(tmp_path / "model.safetensors", tmp_path / "new.safetensors", stored, rows)


def test_foreign_tensors_are_refused(source, tmp_path):
    shard = first_shard(source)
    original = shard.read_bytes()
    layer = "model.layers.1.self_attn.q_proj"
    cases = [
        ({"score.weight": torch.zeros(2)}, "score.weight belongs to no model of this configuration"),
        ({"a": torch.zeros(2), "b": torch.zeros(2)}, r"a \(and 1 more\) belongs to no model"),
    ]
    for tensors, says in cases:
        change(shard, **tensors)
        with pytest.raises(ValueError, match=says):
            convert(source, tmp_path / "out")
        shard.write_bytes(original)
    (holder,) = [path for path in source.glob("*.safetensors") if f"{layer}.weight" in load_file(path)]
    before = load_file(holder)
    other = next(path for path in source.glob("*.safetensors") if path != holder)
    kept = other.read_bytes()
    change(other, **{f"{layer}.weight": before[f"{layer}.weight"]})
    with pytest.raises(ValueError, match=f"{layer}.weight is stored twice"):
        convert(source, tmp_path / "out")
    other.write_bytes(kept)
    save_file({name: tensor for name, tensor in before.items() if name != f"{layer}.weight"}, holder)
    with pytest.raises(ValueError, match=f"lacks {layer}.weight; fetch it anew"):
        convert(source, tmp_path / "out")
    save_file({**before, f"{layer}.weight": torch.zeros(16, 17)}, holder)
    with pytest.raises(ValueError, match=r"has shape \[16, 17\], and the configuration says \[16, 16\]"):
        convert(source, tmp_path / "out")
    save_file({**before, f"{layer}.weight": torch.zeros(16, 16, dtype=torch.int8)}, holder)
    with pytest.raises(ValueError, match="is stored as I8, so this checkpoint is quantised; convert the original"):
        convert(source, tmp_path / "out")
    assert names(tmp_path) == ["source"]


def test_a_full_disk_is_noticed_before_anything_is_written(source, tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr("shutil.disk_usage", lambda path: usage)
    with pytest.raises(ValueError, match=r"has 0.0 GB left and 0.0 GB are needed; make room"):
        convert(source, tmp_path / "out")
    assert names(tmp_path) == ["source"]
