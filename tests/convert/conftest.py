"""Checkpoints as others publish them: native ones and Dream's, tiny, with a tokenizer of bytes or Qwen2's own."""

import json
import shutil
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast

sys.path.insert(0, str(Path(__file__).parent))  # for gguf_writing
QWEN2 = (Path(__file__).resolve().parents[2] / "../shared/data/qwen2_tokenizer").resolve()
CHATML = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
# What Qwen2.5 adds to its 151,643 pieces, from id 151643 on, and then Dream, and then the published training script.
QWEN2_SPECIAL = [
    "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|object_ref_start|>", "<|object_ref_end|>", "<|box_start|>",
    "<|box_end|>", "<|quad_start|>", "<|quad_end|>", "<|vision_start|>", "<|vision_end|>", "<|vision_pad|>",
    "<|image_pad|>", "<|video_pad|>",
]  # fmt: skip
QWEN2_PLAIN = [
    "<tool_call>", "</tool_call>", "<|fim_prefix|>", "<|fim_middle|>", "<|fim_suffix|>", "<|fim_pad|>",
    "<|repo_name|>", "<|file_sep|>",
]  # fmt: skip
DREAM_SPECIAL = ["<|beginoftext|>", "<|mask|>"]
PUBLISHED_TAGS = ["<async>", "</async>", "<promise>-<topic>", "</topic>", "<sync/>", "[PAD]"]
SIZES = {
    "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2,
    "num_key_value_heads": 1, "max_position_embeddings": 256,
}  # fmt: skip


def _byte_tokenizer(chat_template=CHATML, digits=True, eos="<|endoftext|>", **tokens) -> PreTrainedTokenizerFast:
    """256 bytes and three tokens of ChatML; without `digits`, "1" and "2" are no tokens of their own."""
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    alphabet = [letter for letter in pre_tokenizers.ByteLevel.alphabet() if digits or letter not in "12"]
    trainer = trainers.BpeTrainer(vocab_size=256, initial_alphabet=sorted(alphabet), show_progress=False)
    backend.train_from_iterator([], trainer)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, **({"eos_token": eos} if eos else {}), **tokens)
    tokenizer.add_tokens(["<|im_start|>", "<|im_end|>"] if chat_template == CHATML else [], special_tokens=True)
    tokenizer.chat_template = chat_template
    return tokenizer


@pytest.fixture(scope="session")
def bytes_of_others():
    """bytes_of_others(chat_template, digits=True, eos=...): a tokenizer without control tokens."""
    return _byte_tokenizer


@pytest.fixture(scope="session")
def native_folder():
    """native_folder(folder, "qwen2", tie=False, rows=None, tokenizer=None, dtype=, shard=) -> the native model."""

    def build(folder, architecture="qwen2", tie=False, rows=None, tokenizer=None, dtype=torch.float32, shard="100GB"):
        tokenizer = _byte_tokenizer() if tokenizer is None else tokenizer
        fields = {**SIZES, "vocab_size": rows or len(tokenizer), "tie_word_embeddings": tie, "initializer_range": 0.2}
        ids = {f"{name}_token_id": getattr(tokenizer, f"{name}_token_id") for name in ("bos", "eos", "pad")}
        with torch.random.fork_rng():
            torch.manual_seed(0)
            model = AutoModelForCausalLM.from_config(AutoConfig.for_model(architecture, **fields, **ids))
        model = model.to(dtype).eval()
        model.save_pretrained(folder, max_shard_size=shard)
        tokenizer.save_pretrained(folder)
        return model

    return build


@pytest.fixture(scope="session")
def qwen2_files():
    """qwen2_files(folder, "qwen2" | "dream" | "published"): the tokenizer as these checkpoints carry it."""

    def write(folder, kind="qwen2") -> None:
        if not QWEN2.is_dir():
            pytest.skip("no tokenizer of Qwen2 at ../shared/data/qwen2_tokenizer")
        folder.mkdir(exist_ok=True)
        for name in ("vocab.json", "merges.txt"):
            shutil.copyfile(QWEN2 / name, folder / name)
        special, added = QWEN2_SPECIAL, QWEN2_SPECIAL + QWEN2_PLAIN
        config = {"tokenizer_class": "Qwen2Tokenizer", "eos_token": "<|endoftext|>", "bos_token": None}
        if kind != "qwen2":
            special, added = special + DREAM_SPECIAL, added + DREAM_SPECIAL
            config = {
                "tokenizer_class": "DreamTokenizer",
                "auto_map": {"AutoTokenizer": ["tokenization_dream.DreamTokenizer", None]},
                "eos_token": "<|endoftext|>", "bos_token": "<|beginoftext|>", "mask_token": "<|mask|>",
            }  # fmt: skip
        added += PUBLISHED_TAGS if kind == "published" else []  # added without the flag that makes them special
        flags = {"lstrip": False, "rstrip": False, "single_word": False}
        decoder = {
            str(151643 + at): {
                "content": name,
                "special": name in special,
                "normalized": name in PUBLISHED_TAGS,
                **flags,
            }
            for at, name in enumerate(added)
        }
        config |= {
            "added_tokens_decoder": decoder, "additional_special_tokens": special, "pad_token": "<|endoftext|>",
            "unk_token": None, "add_prefix_space": False, "clean_up_tokenization_spaces": False, "errors": "replace",
            "model_max_length": 131072, "split_special_tokens": False, "chat_template": CHATML,
        }  # fmt: skip
        (folder / "tokenizer_config.json").write_text(json.dumps(config))

    return write


def _dream_config(**changes) -> dict:
    """Dream's config.json, field for field, at tiny size."""
    return {
        "architectures": ["DreamModel"], "attention_dropout": 0.0,
        "auto_map": {"AutoConfig": "configuration_dream.DreamConfig", "AutoModel": "modeling_dream.DreamModel"},
        "bos_token_id": 151643, "eos_token_id": 151643, "hidden_act": "silu", "initializer_range": 0.02,
        "mask_token_id": 151666, "max_window_layers": 28, "model_type": "Dream", "pad_token_id": 151643,
        "rms_norm_eps": 1e-06, "rope_scaling": None, "rope_theta": 1000000.0, "sliding_window": None,
        "tie_word_embeddings": False, "torch_dtype": "bfloat16", "transformers_version": "4.46.2", "use_cache": False,
        "use_mrope": False, "use_sliding_window": False, "vocab_size": 152064, **SIZES, **changes,
    }  # fmt: skip


@pytest.fixture(scope="session")
def dream_config():
    return _dream_config


@pytest.fixture(scope="session")
def dream_folder():
    """dream_folder(folder, weights, shards=2, **fields): config and sharded weights; the generation config of Dream."""

    def build(folder, weights: dict[str, torch.Tensor], shards=2, **fields) -> None:
        folder.mkdir(exist_ok=True)
        (folder / "config.json").write_text(json.dumps(_dream_config(**fields)))
        generation = {"_from_model_config": True, "alg": "origin", "eos_token_id": 151643, "eps": 0.001, "steps": 512}
        (folder / "generation_config.json").write_text(json.dumps(generation))
        names, weight_map = sorted(weights), {}
        for shard in range(shards):
            file = f"model-{shard + 1:05d}-of-{shards:05d}.safetensors"
            part = names[shard::shards]
            save_file({name: weights[name].contiguous() for name in part}, folder / file, metadata={"format": "pt"})
            weight_map |= dict.fromkeys(part, file)
        size = sum(weights[name].nbytes for name in names)
        index = {"metadata": {"total_size": size}, "weight_map": weight_map}
        (folder / "model.safetensors.index.json").write_text(json.dumps(index))

    return build
