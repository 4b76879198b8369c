"""GGUF files: the same function as the model that was written, its tokenizer, and what is refused in a sentence."""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

gguf = pytest.importorskip("gguf", reason="GGUF files need: pip install 'planned-diffusion[gguf]'")

from gguf import GGMLQuantizationType as Kind  # noqa: E402
from gguf_writing import byte_level_tokenizer, native_model, packed, tensors_of, write_gguf  # noqa: E402
from safetensors.torch import load_file  # noqa: E402

from planned_diffusion.hub.convert import convert as module  # noqa: E402
from planned_diffusion.hub.convert import gguf_file, gguf_weights  # noqa: E402
from planned_diffusion.hub.convert.convert import convert  # noqa: E402
from planned_diffusion.modeling_planned_diffusion import PlannedDiffusionForCausalLM  # noqa: E402
from planned_diffusion.records.escaping import without_escapes  # noqa: E402

LLAMA3 = {"rope_type": "llama3", "rope_theta": 5e5, "factor": 8.0, **gguf_file.LLAMA3}
CASES = [("llama", True), ("llama", False), ("qwen2", True), ("qwen2", False), ("qwen3", False)]


@pytest.fixture(scope="module")
def tokenizer():
    return byte_level_tokenizer()


@pytest.fixture(scope="module")
def llama(tokenizer):
    return native_model("llama", tokenizer)


def ids_of(model, tokenizer):
    return tokenizer("an aurora is green.\n\n12 times 30", return_tensors="pt")["input_ids"]


# Weights


@torch.no_grad()
@pytest.mark.parametrize(("architecture", "tie"), CASES, ids=str)
def test_logits_are_those_of_the_model_that_was_written(architecture, tie, tokenizer, tmp_path):
    native = native_model(architecture, tokenizer, tie)
    for name, tensor in native.named_parameters():
        if name.endswith(("bias", "norm.weight")):  # zeros and ones at the beginning
            tensor.uniform_(0.5, 1.5)
    write_gguf(tmp_path / "model.gguf", native, tokenizer)
    report = convert(tmp_path / "model.gguf", tmp_path / "out")
    ours, loading = PlannedDiffusionForCausalLM.from_pretrained(tmp_path / "out", output_loading_info=True)
    assert not loading["missing_keys"] and not loading["unexpected_keys"] and report.dtypes == ["F32"]
    ids, count = ids_of(native, tokenizer), len(tokenizer)
    assert ours(ids).logits[..., :count].equal(native(ids).logits)
    assert ours.config.backbone_config.tie_word_embeddings == tie
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.gguf", "out"]


@torch.no_grad()
@pytest.mark.parametrize("kind", [Kind.Q4_0, Kind.Q4_1, Kind.Q5_1, Kind.Q8_0])
def test_quantised_weights_become_bf16(kind, llama, tokenizer, tmp_path, monkeypatch):
    """Read a few rows at a time, they are the numbers that the gguf package makes of each whole tensor."""
    monkeypatch.setattr(gguf_weights, "PIECE", 3 * 4 * 64)
    write_gguf(tmp_path / "model.gguf", llama, tokenizer, kind)
    assert convert(tmp_path / "model.gguf", tmp_path / "out").dtypes == ["BF16"]
    ours = load_file(tmp_path / "out" / "model.safetensors")
    for name, weight in llama.state_dict().items():
        data, stored = packed(weight.numpy(), kind)
        expected = torch.from_numpy(np.array(gguf.dequantize(data, stored))).to(torch.bfloat16)
        assert ours[name][: len(expected)].equal(expected), name


@pytest.mark.parametrize(("kind", "dtype"), [(Kind.F16, torch.float16), (Kind.BF16, torch.bfloat16)])
def test_files_of_plain_numbers_keep_their_type(kind, dtype, llama, tokenizer, tmp_path):
    write_gguf(tmp_path / "model.gguf", llama, tokenizer, kind)
    convert(tmp_path / "model.gguf", tmp_path / "out")
    ours = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    assert ours.dtype == dtype
    assert ours.model.layers[1].self_attn.q_proj.weight.equal(llama.model.layers[1].self_attn.q_proj.weight.to(dtype))


def test_converting_the_native_folder_gives_the_same_bytes(llama, tokenizer, tmp_path):
    llama.save_pretrained(tmp_path / "native")
    tokenizer.save_pretrained(tmp_path / "native")
    write_gguf(tmp_path / "model.gguf", llama, tokenizer)
    convert(tmp_path / "native", tmp_path / "one")
    convert(tmp_path / "model.gguf", tmp_path / "two")
    one, two = (load_file(tmp_path / name / "model.safetensors") for name in ("one", "two"))
    assert one.keys() == two.keys() and all(one[name].equal(two[name]) for name in one)


@torch.no_grad()
def test_the_frequencies_of_llama_3(tokenizer, tmp_path):
    native = native_model("llama", tokenizer, rope_parameters=LLAMA3)
    factors = gguf_file.llama3_factors(5e5, 16, 8.0).astype(np.float32)
    assert factors[0] == 1 and factors[-1] == 8
    write_gguf(tmp_path / "model.gguf", native, tokenizer, tensors={gguf_file.ROPE_FACTORS: (factors, Kind.F32)})
    convert(tmp_path / "model.gguf", tmp_path / "out")
    ours = PlannedDiffusionForCausalLM.from_pretrained(tmp_path / "out")
    ids = ids_of(native, tokenizer)
    assert ours(ids).logits[..., : len(tokenizer)].equal(native(ids).logits)
    write_gguf(tmp_path / "odd.gguf", native, tokenizer, tensors={gguf_file.ROPE_FACTORS: (factors[::-1], Kind.F32)})
    with pytest.raises(ValueError, match="rotary positions of its own .rope_freqs.weight., which are not those of"):
        convert(tmp_path / "odd.gguf", tmp_path / "other")


@pytest.mark.slow
def test_memory_is_at_most_one_and_a_half_times_the_bf16_weights(tmp_path):
    """134 MB of bf16 weights, on top of what the imports take; the file, which is mapped, counts."""
    vocabulary, hidden = 32_768, 2_048
    weight = np.zeros((vocabulary, hidden), np.float32)
    script = f"""
import resource
from pathlib import Path
import numpy as np
from gguf import GGUFReader
from planned_diffusion.hub.convert.gguf_weights import Unpacking, unpacked_bytes, write_unpacked
tensor = GGUFReader({str(tmp_path / "large.gguf")!r}).tensors[0]
order = np.arange({vocabulary})[::-1]
planned = [Unpacking("a", ({vocabulary}, {hidden}), order, tensor)]
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
write_unpacked(planned, "BF16", Path({str(tmp_path / "large.safetensors")!r}), lambda count: None)
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - before
print(peak / unpacked_bytes(planned, "BF16"))
"""
    writer = gguf.GGUFWriter(tmp_path / "large.gguf", "llama")
    writer.add_tensor("token_embd.weight", gguf.quantize(weight, Kind.Q8_0), raw_dtype=Kind.Q8_0)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < 1.5


# Tokenizer and texts


@pytest.mark.parametrize(("architecture", "pre"), [("llama", "gpt-2"), ("llama", "smollm"), ("qwen2", "qwen2")])
def test_text_is_split_as_before(architecture, pre, tmp_path):
    tokenizer = byte_level_tokenizer(pre)
    native = native_model(architecture, tokenizer)
    write_gguf(tmp_path / "model.gguf", native, tokenizer, pre=pre)
    report = convert(tmp_path / "model.gguf", tmp_path / "out")
    ours = AutoTokenizer.from_pretrained(tmp_path / "out")
    for text in ("an aurora, 12 km up.\n\n  3. Où?", "it is red.\n\n2. it is green", "<|im_start|>user\nthe sun"):
        assert ours(text)["input_ids"] == tokenizer(text)["input_ids"]
        assert ours.decode(ours(text)["input_ids"]) == text
    assert without_escapes(ours.chat_template) == tokenizer.chat_template and report.chat_template == "kept"
    assert ours.eos_token == "<|im_end|>" and report.tokens["<|im_end|>"] == tokenizer.eos_token_id


def test_all_ends_of_an_answer_and_the_licence_are_kept(llama, tokenizer, tmp_path):
    write_gguf(tmp_path / "model.gguf", llama, tokenizer, metadata={"tokenizer.ggml.eot_token_id": 7})
    convert(tmp_path / "model.gguf", tmp_path / "out")
    stored = json.loads((tmp_path / "out" / "generation_config.json").read_text())
    assert stored["eos_token_id"] == [tokenizer.eos_token_id, 7]
    card = (tmp_path / "out" / "README.md").read_text()
    assert "license: apache-2.0" in card and "Converted for planned diffusion from model.gguf." in card


def test_a_base_without_training_answers_left_to_right(llama, tokenizer, tmp_path):
    """Its plan is declined: the row of a new tag is a mean of words, and one of those is always more probable."""
    write_gguf(tmp_path / "model.gguf", llama, tokenizer)
    convert(tmp_path / "model.gguf", tmp_path / "out")
    ours = PlannedDiffusionForCausalLM.from_pretrained(tmp_path / "out")
    for text in ("the sun", "an aurora is", "green and red"):
        ids = tokenizer(text, return_tensors="pt")["input_ids"]
        answers = [ours.generate(ids, decoding=way, max_new_tokens=20) for way in ("planned", "autoregressive")]
        assert answers[0].equal(answers[1])


# Where the file is


def test_a_folder_with_one_file_or_a_name(llama, tokenizer, tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir()
    write_gguf(folder / "a.gguf", llama, tokenizer)
    (folder / "LICENSE").write_text("Do as you like.")
    assert convert(folder, tmp_path / "one").model_type == "llama"
    assert (tmp_path / "one" / "LICENSE").is_file()
    write_gguf(folder / "b.gguf", native_model("qwen2", tokenizer), tokenizer)
    with pytest.raises(ValueError, match="folder holds a.gguf, b.gguf; choose one of them with --gguf-file"):
        convert(folder, tmp_path / "two")
    assert convert(folder, tmp_path / "two", gguf_file="b.gguf").model_type == "qwen2"
    with pytest.raises(ValueError, match="folder holds no c.gguf; GGUF files there: a.gguf, b.gguf"):
        convert(folder, tmp_path / "three", gguf_file="c.gguf")
    llama.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    assert convert(folder, tmp_path / "three").dtypes == ["F32"]  # the checkpoint of transformers comes first


def test_a_repository(llama, tokenizer, tmp_path, monkeypatch):
    folder, asked = tmp_path / "folder", []
    folder.mkdir()
    write_gguf(folder / "a.gguf", llama, tokenizer)

    def snapshot_download(repo, revision, allow_patterns):
        asked.append((repo, revision, allow_patterns[0], "*.safetensors" in allow_patterns))
        return str(folder)

    monkeypatch.setattr(module, "snapshot_download", snapshot_download)
    report = convert("owner/name", tmp_path / "out", revision="v1", gguf_file="a.gguf")
    assert asked == [("owner/name", "v1", "a.gguf", False)] and report.source == "owner/name"
    assert "base_model: owner/name" in (tmp_path / "out" / "README.md").read_text()
    with pytest.raises(ValueError, match=r"holds no b.gguf; GGUF files there: a.gguf"):
        convert("owner/name", tmp_path / "other", gguf_file="b.gguf")


def test_progress_reaches_its_end(llama, tokenizer, tmp_path):
    write_gguf(tmp_path / "model.gguf", llama, tokenizer)
    heard = []
    convert(tmp_path / "model.gguf", tmp_path / "out", progress=lambda done, total: heard.append((done, total)))
    assert heard == sorted(heard) and len({total for _, total in heard}) == 1 and heard[-1][0] == heard[-1][1]


# Refusals


def refused(path, out, says) -> None:
    with pytest.raises(ValueError, match=says) as caught:
        convert(path, out)
    assert "\n" not in str(caught.value)
    assert not [one.name for one in out.parent.iterdir() if one.name.startswith((".", "out"))]


def test_files_that_are_cut_off(llama, tokenizer, tmp_path):
    path = tmp_path / "model.gguf"
    write_gguf(path, llama, tokenizer)
    whole = path.read_bytes()
    for count in (5, 20, 100, 2_000, len(whole) // 2, len(whole) - 200):
        path.write_bytes(whole[:count])
        refused(path, tmp_path / "out", "model.gguf is cut off or damaged .*; fetch it anew")
    for content in (b"", b"GG", b"<html>Not found</html>"):
        path.write_bytes(content)
        refused(path, tmp_path / "out", "model.gguf is no GGUF file; name one")


def test_types_that_are_no_numbers(llama, tokenizer, tmp_path):
    path, name = tmp_path / "model.gguf", "blk.1.ffn_up.weight"
    shape = tensors_of(llama, Kind.F32)[name][0].shape
    write_gguf(path, llama, tokenizer, tensors={name: (np.zeros(shape, np.int32), None)})
    refused(path, tmp_path / "out", f"stores {name} as I32, which the gguf package cannot turn into numbers; take a f")
    write_gguf(path, llama, tokenizer)
    content = path.read_bytes()
    at = content.index(name.encode()) + len(name) + 4 + 2 * 8  # number of dimensions, dimensions
    path.write_bytes(content[:at] + (999).to_bytes(4, "little") + content[at + 4 :])
    refused(path, tmp_path / "out", "tensors of type 999, which the installed gguf package does not know; run pip")


@pytest.mark.parametrize(
    ("metadata", "says"),
    [
        ({"general.architecture": "gemma3"}, "a model of architecture 'gemma3'; GGUF files of llama, qwen2, qwen3 can"),
        ({"llama.block_count": None}, "lacks llama.block_count; fetch another file"),
        ({"llama.rope.scaling.type": "yarn"}, r"rotary positions scaled \(yarn\); convert the original checkpoint"),
        ({"llama.rope.dimension_count": 8}, "rotary positions of 8 of 16 dimensions; convert the original"),
        ({"split.count": 3}, "is one of several parts; join them first with llama-gguf-split --merge"),
        (
            {"tokenizer.ggml.model": "none"},
            "No tokenizer can be read from .*: its kind is 'none', and gpt2 and llama",
        ),
    ],
)
def test_models_that_cannot_be_converted(metadata, says, llama, tokenizer, tmp_path):
    write_gguf(tmp_path / "model.gguf", llama, tokenizer, metadata=metadata)
    refused(tmp_path / "model.gguf", tmp_path / "out", says)


def test_tensors_of_another_model(llama, tokenizer, tmp_path):
    experts = {"blk.0.ffn_gate_exps.weight": (np.zeros((2, 4, 32), np.float32), Kind.F32)}
    write_gguf(tmp_path / "model.gguf", llama, tokenizer, tensors=experts)
    refused(tmp_path / "model.gguf", tmp_path / "out", "holds blk.0.ffn_gate_exps.weight, which a plain llama model")


def test_another_byte_order(llama, tokenizer, tmp_path):
    write_gguf(tmp_path / "model.gguf", llama, tokenizer, endianess=gguf.GGUFEndian.BIG)
    refused(tmp_path / "model.gguf", tmp_path / "out", "byte order of another kind of machine")


def test_no_package(llama, tokenizer, tmp_path, monkeypatch):
    write_gguf(tmp_path / "model.gguf", llama, tokenizer)
    monkeypatch.setitem(sys.modules, "gguf", None)
    refused(tmp_path / "model.gguf", tmp_path / "out", r"need the package gguf; run pip install 'planned-diffusion\[gg")


def test_no_disk(llama, tokenizer, tmp_path, monkeypatch):
    import shutil

    write_gguf(tmp_path / "model.gguf", llama, tokenizer)
    usage = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr("shutil.disk_usage", lambda path: usage)
    refused(tmp_path / "model.gguf", tmp_path / "out", "0.0 GB left and 0.0 GB are needed; make room")


@pytest.mark.parametrize("stop_at", [0.2, 0.8])
def test_an_interruption_leaves_nothing(stop_at, llama, tokenizer, tmp_path):
    write_gguf(tmp_path / "model.gguf", llama, tokenizer)
    left = tmp_path / ".out.unpacked"
    left.mkdir()  # by a conversion that was killed
    (left / "model.safetensors").write_bytes(b"half")

    def stop(done, total):
        if done > stop_at * total:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        convert(tmp_path / "model.gguf", tmp_path / "out", progress=stop)
    assert [path.name for path in tmp_path.iterdir()] == ["model.gguf"]
