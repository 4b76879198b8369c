"""Ways in which a checkpoint can be broken: name -> (folder to break, "good" or "shards", and how it is broken)."""

import json
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
Break = Callable[[Path], object]


def fields(file: str, **changes: object) -> Break:
    """Change fields of a JSON file; a name with two underscores leads into an object."""

    def change(folder: Path) -> None:
        stored = json.loads((folder / file).read_text())
        for name, value in changes.items():
            *outer, last = name.split("__")
            inner = stored
            for key in outer:
                inner = inner[key]
            inner[last] = value
        (folder / file).write_text(json.dumps(stored))

    return change


def text(file: str, content: str) -> Break:
    """Replace the content of a file."""
    return lambda folder: (folder / file).write_text(content)


def binary(file: str) -> Break:
    """Replace a file by bytes that are no text."""
    return lambda folder: (folder / file).write_bytes(b"\xff\xfe\x00")


def layers(count: int) -> Break:
    """Change the number of layers in the configuration."""
    return fields("config.json", backbone_config__num_hidden_layers=count, backbone_config__layer_types=None)


def cut(file: str, share: float) -> Break:
    """Keep the beginning of a file."""

    def shorten(folder: Path) -> None:
        content = (folder / file).read_bytes()
        (folder / file).write_bytes(content[: int(len(content) * share)])

    return shorten


def gone(file: str) -> Break:
    """Remove a file."""
    return lambda folder: (folder / file).unlink()


def tensors(change: Callable[[dict[str, torch.Tensor]], object]) -> Break:
    """Change the tensors of the file of weights."""

    def rewrite(folder: Path) -> None:
        stored = load_file(folder / WEIGHTS)
        change(stored)
        save_file({name: tensor.contiguous() for name, tensor in stored.items()}, folder / WEIGHTS, {"format": "pt"})

    return rewrite


def first_shard(change: Callable[[Path], object]) -> Break:
    """Change the first of several files of weights."""
    return lambda folder: change(min(folder.glob("model-*.safetensors")))


NORM, UP = "model.norm.weight", "model.layers.1.mlp.up_proj.weight"
JSON_FILES = ("config.json", "generation_config.json", "tokenizer_config.json", "tokenizer.json")

CASES: dict[str, tuple[str, Break]] = {
    # Files of JSON
    **{f"{file} cut off": ("good", cut(file, 0.5)) for file in JSON_FILES},
    **{f"{file} empty": ("good", text(file, "")) for file in JSON_FILES},
    **{f"{file} a list": ("good", text(file, "[1]")) for file in JSON_FILES},
    **{f"{file} not text": ("good", binary(file)) for file in JSON_FILES},
    "config.json missing": ("good", gone("config.json")),
    "tokenizer missing": ("good", lambda folder: [(folder / file).unlink() for file in JSON_FILES[2:]]),
    "index cut off": ("shards", cut(INDEX, 0.5)),
    "index empty": ("shards", text(INDEX, "{}")),
    "index without a map": ("shards", text(INDEX, '{"metadata": {}}')),
    "a length of the tokenizer in words": ("good", fields("tokenizer_config.json", model_max_length="long")),
    "a class of the tokenizer that is none": ("good", fields("tokenizer_config.json", tokenizer_class=5)),
    "a token of the tokenizer that is none": ("good", fields("tokenizer_config.json", eos_token=5)),
    "index a list": ("shards", text(INDEX, "[]")),
    # Weights
    "weights missing": ("good", gone(WEIGHTS)),
    "weights empty": ("good", text(WEIGHTS, "")),
    "weights cut in the header": ("good", cut(WEIGHTS, 0.001)),
    "weights cut in the middle": ("good", cut(WEIGHTS, 0.5)),
    "weights one byte short": ("good", lambda folder: cut(WEIGHTS, 1 - 1 / (folder / WEIGHTS).stat().st_size)(folder)),
    "weights a pointer of LFS": ("good", text(WEIGHTS, "version https://git-lfs.github.com/spec/v1\noid sha256:0\n")),
    "weights noise": ("good", lambda folder: (folder / WEIGHTS).write_bytes(bytes(range(256)) * 9)),
    "shard missing": ("shards", first_shard(Path.unlink)),
    "shard cut off": ("shards", first_shard(lambda file: file.write_bytes(file.read_bytes()[:-9]))),
    "shard empty": ("shards", first_shard(lambda file: file.write_bytes(b""))),
    "one tensor missing": ("good", tensors(lambda stored: stored.pop(NORM))),
    "head missing": ("good", tensors(lambda stored: stored.pop("lm_head.weight"))),
    "a layer missing": ("good", tensors(lambda stored: [stored.pop(name) for name in [*stored] if "layers.1" in name])),
    "one tensor too many": ("good", tensors(lambda stored: stored.update(extra=torch.zeros(2)))),
    "a name changed": ("good", tensors(lambda stored: stored.update({"model.last.weight": stored.pop(NORM)}))),
    "no tensors": ("good", tensors(lambda stored: stored.clear())),
    "a shape changed": ("good", tensors(lambda stored: stored.update({UP: stored[UP][:-1]}))),
    "a matrix flattened": ("good", tensors(lambda stored: stored.update({UP: stored[UP].flatten()}))),
    "a scalar": ("good", tensors(lambda stored: stored.update({NORM: torch.tensor(1.0)}))),
    "integers": ("good", tensors(lambda stored: stored.update({UP: stored[UP].to(torch.int8)}))),
    "all integers": ("good", tensors(lambda s: s.update({name: tensor.to(torch.int32) for name, tensor in s.items()}))),
    "complex numbers": ("good", tensors(lambda stored: stored.update({UP: stored[UP].to(torch.complex64)}))),
    "booleans": ("good", tensors(lambda stored: stored.update({UP: stored[UP] > 0}))),
    # The configuration of other weights
    "fewer layers": ("good", layers(1)),
    "more layers": ("good", layers(3)),
    "a wider model": ("good", fields("config.json", backbone_config__hidden_size=128)),
    "fewer rows": ("good", fields("config.json", backbone_config__vocab_size=108)),
    "more rows": ("good", fields("config.json", backbone_config__vocab_size=120)),
    "more heads": ("good", fields("config.json", backbone_config__num_attention_heads=8)),
    "another kind of backbone": ("good", fields("config.json", backbone_config__model_type="qwen2")),
    "an unknown backbone": ("good", fields("config.json", backbone_config__model_type="abacus")),
    "no backbone": ("good", fields("config.json", backbone_config=None)),
    "a backbone that is no object": ("good", fields("config.json", backbone_config="qwen3")),
    "another kind of model": ("good", fields("config.json", model_type="abacus")),
    "no kind of model": ("good", fields("config.json", model_type=None)),
    # Values that cannot be
    "a width in words": ("good", fields("config.json", backbone_config__hidden_size="wide")),
    "a negative width": ("good", fields("config.json", backbone_config__intermediate_size=-1)),
    "heads of no width": ("good", fields("config.json", backbone_config__head_dim=0)),
    "no heads": ("good", fields("config.json", backbone_config__num_attention_heads=0)),
    "no positions": ("good", fields("config.json", backbone_config__max_position_embeddings=0)),
    "less than no positions": ("good", fields("config.json", backbone_config__max_position_embeddings=-1)),
    "an activation that is none": ("good", fields("config.json", backbone_config__hidden_act="nope")),
    "an epsilon in words": ("good", fields("config.json", backbone_config__rms_norm_eps="small")),
    "a layer type too few": ("good", fields("config.json", backbone_config__layer_types=["full_attention"])),
    "an unknown layer type": ("good", fields("config.json", backbone_config__layer_types=["spiral", "spiral"])),
    "unknown positions": ("good", fields("config.json", backbone_config__rope_parameters={"rope_type": "magic"})),
    "no layers": ("good", fields("config.json", backbone_config__num_hidden_layers=0, backbone_config__layer_types=[])),
    "padding outside": ("good", fields("config.json", backbone_config__pad_token_id=500)),
    "a tag outside": ("good", fields("config.json", sync_token_id=500)),
    "a tag twice": ("good", fields("config.json", sync_token_id=104)),
    "a tag in words": ("good", fields("config.json", sync_token_id="<sync/>")),
    "a negative tag": ("good", fields("config.json", sync_token_id=-1)),
    "nine digits": ("good", fields("config.json", digit_token_ids=list(range(9)))),
    "digits in words": ("good", fields("config.json", digit_token_ids=list("0123456789"))),
    "digits that are no list": ("good", fields("config.json", digit_token_ids=5)),
    "a separator that is no text": ("good", fields("config.json", span_separator=5)),
    "tied in words": ("good", fields("config.json", tie_word_embeddings="yes")),
    "a unit of zero": ("good", fields("config.json", tokens_per_length_unit=0)),
    "a unit in words": ("good", fields("config.json", tokens_per_length_unit="ten")),
    "an unknown attention": ("good", fields("config.json", span_attention="full")),
    "another tokenizer's ids": ("good", fields("config.json", mask_token_id=99)),
    "an unknown dtype": ("good", fields("config.json", dtype="float12")),
    "an unknown field of generation": ("good", fields("generation_config.json", steps=4)),
    "a beam search": ("good", fields("generation_config.json", num_beams=4)),
    "a value out of range": ("good", fields("generation_config.json", confidence_threshold=3)),
    "an unknown decoder": ("good", fields("generation_config.json", decoding="telepathic")),
    "an EOS outside": ("good", fields("generation_config.json", eos_token_id=500)),
    "a half EOS": ("good", fields("generation_config.json", eos_token_id=1.5)),
    "an EOS in words": ("good", fields("generation_config.json", eos_token_id="<|eos|>")),
}
