"""Find the GGUF file that a source means, and read its header, configuration and tokenizer.

A GGUF file is one file for llama.cpp: metadata, the tokenizer and the weights, mostly quantised
(https://github.com/ggml-org/ggml/blob/master/docs/gguf.md).
"""

import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from tokenizers import pre_tokenizers
from transformers import AutoConfig, PreTrainedConfig, PreTrainedTokenizerFast

from ...records.checks import first_line

if TYPE_CHECKING:
    from gguf.gguf_reader import ReaderTensor

ENDING = ".gguf"
ARCHITECTURES = ("llama", "qwen2", "qwen3")
FIELDS = {
    "context_length": "max_position_embeddings",
    "block_count": "num_hidden_layers",
    "embedding_length": "hidden_size",
    "feed_forward_length": "intermediate_size",
    "attention.head_count": "num_attention_heads",
    "attention.layer_norm_rms_epsilon": "rms_norm_eps",
}
ROPE_FACTORS = "rope_freqs.weight"
# Llama 3.1 and later slow the low frequencies down; llama.cpp stores the resulting factors instead of these fields.
LLAMA3 = {"low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 8192}
TOKENIZERS = ("gpt2", "llama")  # kinds (tokenizer.ggml.model): byte-level BPE, SentencePiece
# Pre-tokenizers (tokenizer.ggml.pre) that split numbers into digits first, which transformers leaves out.
DIGIT_BY_DIGIT = ("smollm", "starcoder", "refact", "command-r")


@dataclass(frozen=True)
class GgufFile:
    """A GGUF file, open: its metadata by key, and its tensors, whose numbers are not read yet."""

    path: Path
    metadata: dict[str, Any]
    tensors: "list[ReaderTensor]"

    @property
    def architecture(self) -> str:
        """Return the kind of model, as llama.cpp names it."""
        return str(self.metadata.get("general.architecture"))

    def field(self, name: str, default: object = None) -> Any:  # noqa: ANN401 - as stored
        """Return a field of the model, such as block_count."""
        return self.metadata.get(f"{self.architecture}.{name}", default)

    def token_ids(self, *names: str) -> list[int]:
        """Return the ids of special tokens by name, such as eos; those without an id are left out."""
        ids = (self.metadata.get(f"tokenizer.ggml.{name}_token_id") for name in names)
        return [token for token in ids if token is not None]


def find_gguf(folder: Path, name: str | None) -> Path | None:
    """Return the GGUF file that a folder is converted from; None where it holds an ordinary checkpoint.

    Raises:
        ValueError: several GGUF files and no `name`, or no file of that name.
    """
    found = sorted(path.name for path in folder.glob(f"*{ENDING}"))
    if name is None:
        if (folder / "config.json").is_file() or not found:
            return None
        if len(found) > 1:
            raise ValueError(f"{folder} holds {', '.join(found)}; choose one of them with --gguf-file.")
        name = found[0]
    if not (folder / name).is_file():
        raise ValueError(f"{folder} holds no {name}; GGUF files there: {', '.join(found) or 'none'}.")
    return folder / name


def open_gguf(path: Path) -> GgufFile:
    """Read the header of a GGUF file, and check that its model can be converted.

    Raises:
        ValueError: no package gguf, no whole GGUF file, or a model of a kind that cannot be converted.
    """
    try:
        from gguf import GGUFReader
    except ImportError as error:
        raise ValueError("GGUF files need the package gguf; run pip install 'planned-diffusion[gguf]'.") from error
    try:
        reader = GGUFReader(path)
        metadata = {key: field.contents() for key, field in reader.fields.items()}
    except Exception as error:  # a damaged file makes the reader raise anything
        raise ValueError(_unreadable(path, error)) from error
    if reader.byte_order == "S":
        raise ValueError(f"{path} has the byte order of another kind of machine; fetch the little-endian file.")
    file = GgufFile(path, metadata, reader.tensors)
    if int(metadata.get("split.count") or 1) > 1:
        raise ValueError(f"{path} is one of several parts; join them first with llama-gguf-split --merge.")
    if file.architecture not in ARCHITECTURES:
        raise ValueError(
            f"{path} holds a model of architecture {file.architecture!r}; GGUF files of {', '.join(ARCHITECTURES)} can "
            "be converted, so convert its original checkpoint if there is one."
        )
    return file


def _unreadable(path: Path, error: Exception) -> str:
    """Return why a file cannot be read as GGUF."""
    with path.open("rb") as file:
        if file.read(4) != b"GGUF":
            return f"{path} is no GGUF file; name one, or the folder of a checkpoint."
    if "is not a valid GGMLQuantizationType" in str(error):
        number = re.findall(r"\d+", str(error))[-1]
        return (
            f"{path} has tensors of type {number}, which the installed gguf package does not know; run pip install "
            "--upgrade gguf, or take a file of another quantisation, such as Q8_0."
        )
    return f"{path} is cut off or damaged ({first_line(error)}); fetch it anew."


def read_backbone(file: GgufFile) -> PreTrainedConfig:
    """Return the configuration of the model in a GGUF file.

    Raises:
        ValueError: fields that are missing, or rotary positions that cannot be read from the file.
    """
    missing = [name for name in FIELDS if file.field(name) is None]
    tensors = {tensor.name: tensor for tensor in file.tensors}
    if missing or "token_embd.weight" not in tensors:
        lacks = f"{file.architecture}.{missing[0]}" if missing else "token_embd.weight"
        raise ValueError(f"{file.path} lacks {lacks}; fetch another file of this model.")
    fields = {ours: file.field(theirs) for theirs, ours in FIELDS.items()}
    heads = fields["num_attention_heads"]
    head_dim = file.field("attention.key_length", fields["hidden_size"] // heads)
    bias = {"attention_bias": "blk.0.attn_q.bias" in tensors} if file.architecture != "qwen2" else {}
    ids = {name: (file.token_ids(name) or [None])[0] for name in ("bos", "eos", "padding")}
    return AutoConfig.for_model(
        file.architecture,
        **fields,
        **bias,
        num_key_value_heads=file.field("attention.head_count_kv", heads),
        head_dim=head_dim,
        vocab_size=int(tensors["token_embd.weight"].shape[1]),
        rope_parameters=_rope_parameters(file, head_dim, tensors.get(ROPE_FACTORS)),
        tie_word_embeddings="output.weight" not in tensors,
        bos_token_id=ids["bos"],
        eos_token_id=ids["eos"],
        pad_token_id=ids["padding"],
    )


def _rope_parameters(file: GgufFile, head_dim: int, factors: "ReaderTensor | None") -> dict[str, Any]:
    """Return the parameters of the rotary positions."""
    scaling, rotated = file.field("rope.scaling.type", "none"), file.field("rope.dimension_count", head_dim)
    if scaling != "none" or rotated != head_dim:
        kind = f"scaled ({scaling})" if scaling != "none" else f"of {rotated} of {head_dim} dimensions"
        raise ValueError(f"{file.path} has rotary positions {kind}; convert the original checkpoint of this model.")
    theta = float(file.field("rope.freq_base", 10000.0))
    if factors is None:
        return {"rope_type": "default", "rope_theta": theta}
    stored = np.asarray(factors.data, np.float64).reshape(-1)
    factor = float(stored.max())
    if not np.allclose(stored, llama3_factors(theta, head_dim, factor), rtol=1e-3):
        raise ValueError(
            f"{file.path} has rotary positions of its own ({ROPE_FACTORS}), which are not those of Llama 3; convert "
            "the original checkpoint of this model."
        )
    return {"rope_type": "llama3", "rope_theta": theta, "factor": factor, **LLAMA3}


def llama3_factors(theta: float, head_dim: int, factor: float) -> np.ndarray:
    """Return the divisors of Llama 3's rotary frequencies, as llama.cpp computes them."""
    wave_lengths = 2 * math.pi * theta ** (np.arange(0, head_dim, 2) / head_dim)
    low, high = LLAMA3["low_freq_factor"], LLAMA3["high_freq_factor"]
    turns = LLAMA3["original_max_position_embeddings"] / wave_lengths  # within the context of the first training
    smooth = np.clip((turns - low) / (high - low), 0, 1)
    return 1 / ((1 - smooth) / factor + smooth)


def read_tokenizer(file: GgufFile) -> PreTrainedTokenizerFast:
    """Return the tokenizer of a GGUF file.

    Raises:
        ValueError: no tokenizer, or one of a kind that transformers cannot read.
    """
    kind = file.metadata.get("tokenizer.ggml.model")
    try:
        if kind not in TOKENIZERS:
            raise ValueError(f"its kind is {kind!r}, and {' and '.join(TOKENIZERS)} can be read")
        tokenizer = PreTrainedTokenizerFast.from_pretrained(file.path.parent, gguf_file=file.path.name)
    except Exception as error:  # transformers and tokenizers raise anything here
        raise ValueError(
            f"No tokenizer can be read from {file.path}: {first_line(error)}; convert the original checkpoint."
        ) from error
    if file.metadata.get("tokenizer.ggml.pre") in DIGIT_BY_DIGIT:
        tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
            [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
        )
    return tokenizer
