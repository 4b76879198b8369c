"""The whole way of a foreign checkpoint: converted, tuned, pushed, and loaded by its name where nothing of ours is."""

import json

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerFast

from planned_diffusion.cli.main import main
from planned_diffusion.modeling_planned_diffusion import PlannedDiffusionForCausalLM

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore:Use 'content=<...>':DeprecationWarning")]
SIZES = {
    "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2,
    "num_key_value_heads": 1, "max_position_embeddings": 256, "initializer_range": 0.2,
}  # fmt: skip
PLAN = [[[("cause", 2), ("colour", 1)]]]
PROGRAM = """
import json
from transformers import AutoModelForCausalLM, AutoTokenizer

answers = {}
for repository in REPOSITORIES:
    model = AutoModelForCausalLM.from_pretrained(repository, trust_remote_code=True)
    tokenizer = AutoTokenizer.from_pretrained(repository, trust_remote_code=True)
    inputs = tokenizer(["Why is the sky blue?", "Why?"], padding=True, return_tensors="pt")
    planned = model.generate(**inputs, plan=PLAN * 2, tokenizer=tokenizer, max_new_tokens=60)
    plain = model.generate(**inputs, decoding="autoregressive", max_new_tokens=20)
    answers[repository] = [planned.tolist(), plain.tolist()]
print(json.dumps(answers))
"""


def native(folder, architecture: str):
    """A random model of an architecture, with a byte-level tokenizer that has no control token."""
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(vocab_size=256, initial_alphabet=alphabet, show_progress=False)
    backend.train_from_iterator([], trainer)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<|endoftext|>", pad_token="<|pad|>")
    ids = {f"{name}_token_id": getattr(tokenizer, f"{name}_token_id") for name in ("bos", "eos", "pad")}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = AutoConfig.for_model(architecture, **SIZES, **ids, vocab_size=len(tokenizer))
        model = AutoModelForCausalLM.from_config(config).eval()
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    (folder / "README.md").write_text("---\nlicense: mit\nbase_model: somebody/base\n---\nA model.\n")
    return model


def tuned(model, ids: torch.Tensor):
    """One step of gradient descent on plain text."""
    before = model(ids, labels=ids).loss
    before.backward()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.grad is not None:
                parameter -= 0.01 * parameter.grad
    model.zero_grad()
    assert model(ids, labels=ids).loss < before
    return model


def converted_tuned_pushed(folder, architecture: str, hub) -> list[list[list[int]]]:
    """Take a foreign model to the Hub as user/<architecture>; return what it answers with and without PLAN."""
    source, out, tuned_folder = folder / "source", folder / "out", folder / "tuned"
    source.mkdir(parents=True)
    foreign = native(source, architecture)
    assert main(["convert", str(source), str(out)]) == 0
    model, tokenizer = PlannedDiffusionForCausalLM.from_pretrained(out), AutoTokenizer.from_pretrained(out)
    inputs = tokenizer(["Why is the sky blue?", "Why?"], padding=True, return_tensors="pt", padding_side="left")
    known = foreign.config.vocab_size
    ids = inputs["input_ids"][:1]
    with torch.no_grad():
        assert model(ids).logits[..., :known].equal(foreign(ids).logits)
    tuned(model, ids).save_pretrained(tuned_folder)
    tokenizer.save_pretrained(tuned_folder)
    (tuned_folder / "README.md").write_bytes((out / "README.md").read_bytes())
    assert main(["push", str(tuned_folder), f"user/{architecture}", "--no-run", "--yes"]) == 0
    card = hub.files(f"user/{architecture}")["README.md"].decode()
    assert "license: mit" in card and "base_model: somebody/base" in card and "base_model_relation: finetune" in card
    planned = model.generate(**inputs, plan=PLAN * 2, tokenizer=tokenizer, max_new_tokens=60)
    plain = model.generate(**inputs, decoding="autoregressive", max_new_tokens=20)
    return [planned.tolist(), plain.tolist()]


def test_convert_tune_push_load(hub, bare, stranger, tmp_path, capsys):
    """By their names, with torch and transformers only."""
    expected = {
        f"user/{architecture}": converted_tuned_pushed(tmp_path / architecture, architecture, hub)
        for architecture in ("qwen2", "qwen3", "llama")
    }
    home = {"HF_HOME": str(tmp_path / "home"), "HF_ENDPOINT": hub.endpoint, "HF_TOKEN": "hf_loopback"}
    program = PROGRAM.replace("PLAN", repr(PLAN)).replace("REPOSITORIES", repr(list(expected)))
    assert json.loads(stranger(program, bare, **home)) == expected
    capsys.readouterr()
