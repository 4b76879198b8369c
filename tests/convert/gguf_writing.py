"""Write models and tokenizers of transformers as GGUF files, as llama.cpp's converter does."""

import json
from pathlib import Path

import gguf
import numpy as np
import torch
from gguf import GGMLQuantizationType as Kind
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast
from transformers.models.qwen2.tokenization_qwen2 import PRETOKENIZE_REGEX

SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
CHATML = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
SIZES = {
    "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "head_dim": 16, "max_position_embeddings": 256, "rms_norm_eps": 1e-5,
    "initializer_range": 0.2,
}  # fmt: skip
TEXT = "an aurora is a light in the sky, and the wind of the sun makes it.\n\nit is green, and it is red."


def byte_level_tokenizer(pre: str = "gpt-2") -> PreTrainedTokenizerFast:
    """A trained byte-level BPE with ChatML's tokens; text is split as GPT-2, SmolLM or Qwen2 do."""
    split = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend = Tokenizer(models.BPE())
    if pre == "smollm":
        split = pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), split])
    elif pre == "qwen2":
        pattern = pre_tokenizers.Split(Regex(PRETOKENIZE_REGEX), behavior="isolated")
        split = pre_tokenizers.Sequence([pattern, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    backend.pre_tokenizer, backend.decoder = split, decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(vocab_size=290, initial_alphabet=alphabet, show_progress=False)
    backend.train_from_iterator([TEXT] * 2, trainer)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, bos_token=SPECIAL[0], eos_token=SPECIAL[2])
    tokenizer.add_tokens(list(SPECIAL), special_tokens=True)
    tokenizer.chat_template = CHATML
    return tokenizer


def native_model(architecture: str, tokenizer, tie: bool = False, **fields):
    """A random model of transformers."""
    ids = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id, "pad_token_id": None}
    config = AutoConfig.for_model(
        architecture, **SIZES, **ids, vocab_size=len(tokenizer), tie_word_embeddings=tie, **fields
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return AutoModelForCausalLM.from_config(config).float().eval()


def interleaved(weight: np.ndarray, heads: int) -> np.ndarray:
    """Rows of Llama's queries or keys as llama.cpp wants them."""
    return weight.reshape(heads, 2, -1, *weight.shape[1:]).swapaxes(1, 2).reshape(weight.shape)


def packed(weight: np.ndarray, kind: Kind) -> tuple[np.ndarray, Kind]:
    """Numbers as a file stores them; vectors stay float32."""
    kind = Kind.F32 if weight.ndim == 1 else kind
    return gguf.quantize(weight, kind), kind


def write_gguf(
    path: Path, model, tokenizer, kind: Kind = Kind.F32, pre: str = "gpt-2", metadata=None, tensors=None, **options
) -> None:
    """Write a model; `metadata` and `tensors` are added, in place of those of the same name (None: left out)."""
    config, architecture = model.config, model.config.model_type
    writer = gguf.GGUFWriter(path, architecture, **options)
    fields = {
        f"{architecture}.context_length": config.max_position_embeddings,
        f"{architecture}.block_count": config.num_hidden_layers,
        f"{architecture}.embedding_length": config.hidden_size,
        f"{architecture}.feed_forward_length": config.intermediate_size,
        f"{architecture}.attention.head_count": config.num_attention_heads,
        f"{architecture}.attention.head_count_kv": config.num_key_value_heads,
        f"{architecture}.attention.layer_norm_rms_epsilon": config.rms_norm_eps,
        f"{architecture}.rope.freq_base": float(config.rope_parameters["rope_theta"]),
        "general.license": "apache-2.0",
        "tokenizer.ggml.bos_token_id": tokenizer.bos_token_id,
        "tokenizer.ggml.eos_token_id": tokenizer.eos_token_id,
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": pre,
        "tokenizer.ggml.add_bos_token": False,
        "tokenizer.chat_template": tokenizer.chat_template,
        **(metadata or {}),
    }
    if architecture == "qwen3":
        fields["qwen3.attention.key_length"] = config.head_dim
    for name, value in fields.items():
        if value is not None:
            add = {bool: writer.add_bool, int: writer.add_uint32, float: writer.add_float32, str: writer.add_string}
            add[type(value)](name, value)
    spelled = sorted(tokenizer.get_vocab().items(), key=lambda item: item[1])
    writer.add_token_list([token for token, _ in spelled])
    writer.add_token_types([3 if token in SPECIAL else 1 for token, _ in spelled])
    merges = json.loads(tokenizer.backend_tokenizer.to_str())["model"]["merges"]
    writer.add_token_merges([" ".join(pair) for pair in merges])
    for name, (data, stored) in {**tensors_of(model, kind), **(tensors or {})}.items():
        writer.add_tensor(name, data, raw_dtype=stored)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def tensors_of(model, kind: Kind) -> dict[str, tuple[np.ndarray, Kind]]:
    """The tensors of a model under llama.cpp's names, packed."""
    config, architecture = model.config, model.config.model_type
    arch = next(key for key, name in gguf.MODEL_ARCH_NAMES.items() if name == architecture)
    names, found = gguf.get_tensor_name_map(arch, config.num_hidden_layers), {}
    for name, tensor in model.state_dict().items():
        stem, _, what = name.rpartition(".")
        theirs, weight = f"{names.get_name(stem)}.{what}", tensor.numpy()
        if architecture == "llama" and ("attn_q." in theirs or "attn_k." in theirs):
            heads = config.num_attention_heads if "attn_q." in theirs else config.num_key_value_heads
            weight = interleaved(weight, heads)
        if name != "lm_head.weight" or not config.tie_word_embeddings:
            found[theirs] = packed(weight, kind)
    return found
