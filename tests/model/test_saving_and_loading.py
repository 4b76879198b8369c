"""Checkpoints: what is written, what comes back through which class, and what survives."""

import json

import pytest
import torch
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM, LlamaConfig, Qwen3Config

from planned_diffusion.configuration_planned_diffusion import CONTROL_TOKEN_FIELDS, PlannedDiffusionConfig
from planned_diffusion.hub.flat import AUTO_MAP, flat_code
from planned_diffusion.modeling_planned_diffusion import PlannedDiffusionForCausalLM

IDS = torch.tensor([[5, 60, 33, 97, 12, 80, 2]])


def logits(model) -> torch.Tensor:
    with torch.no_grad():
        return model(IDS).logits


@pytest.mark.parametrize("tie", [False, True])
@pytest.mark.parametrize("architecture", ["qwen2", "qwen3", "llama"])
def test_round_trip(architecture, tie, build_model, tmp_path):
    model = build_model(architecture, tie=tie)
    model.save_pretrained(tmp_path)
    for loader in (PlannedDiffusionForCausalLM, AutoModelForCausalLM, AutoModel):
        again = loader.from_pretrained(tmp_path)
        assert type(again) is PlannedDiffusionForCausalLM
        assert not again.training
        assert logits(again).equal(logits(model))
        assert (again.lm_head.weight is again.model.embed_tokens.weight) == tie
    again.save_pretrained(tmp_path / "again")
    PlannedDiffusionForCausalLM.from_pretrained(tmp_path / "again").save_pretrained(tmp_path / "third")
    for name in ("config.json", "generation_config.json", "model.safetensors"):
        assert (tmp_path / "third" / name).read_bytes() == (tmp_path / "again" / name).read_bytes()


def test_tensors_are_stored_under_native_names(build_model, tmp_path):
    from safetensors import safe_open

    for tie in (False, True):
        model = build_model(tie=tie)
        model.save_pretrained(tmp_path)
        with safe_open(tmp_path / "model.safetensors", "pt") as stored:
            names = set(stored.keys())
        assert names == set(model.state_dict()) - ({"lm_head.weight"} if tie else set())


def test_nothing_is_missing_or_left_over_on_loading(build_model, tmp_path):
    build_model().save_pretrained(tmp_path)
    _, report = PlannedDiffusionForCausalLM.from_pretrained(tmp_path, output_loading_info=True)
    assert not report["missing_keys"] and not report["unexpected_keys"] and not report["mismatched_keys"]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_dtype(dtype, build_model, tmp_path):
    build_model(dtype=dtype).save_pretrained(tmp_path)
    assert PlannedDiffusionForCausalLM.from_pretrained(tmp_path).dtype == dtype
    assert PlannedDiffusionForCausalLM.from_pretrained(tmp_path, dtype=torch.float32).dtype == torch.float32


def test_shards(build_model, tmp_path):
    model = build_model()
    model.save_pretrained(tmp_path, max_shard_size="100KB")
    assert len(list(tmp_path.glob("*.safetensors"))) > 1
    assert logits(PlannedDiffusionForCausalLM.from_pretrained(tmp_path)).equal(logits(model))


@pytest.mark.parametrize("implementation", ["sdpa", "eager"])
def test_attention_implementation_on_loading(implementation, build_model, tmp_path):
    build_model().save_pretrained(tmp_path)
    model = PlannedDiffusionForCausalLM.from_pretrained(tmp_path, attn_implementation=implementation)
    assert model.model.config._attn_implementation == implementation
    assert model.model.layers[0].self_attn.config._attn_implementation == implementation


# Configuration


def test_every_field_of_the_config_survives(build_config, tmp_path):
    config = build_config("llama", tie=True, tokens_per_length_unit=7, span_attention="dense", span_separator="\n")
    config.save_pretrained(tmp_path)
    for loader in (AutoConfig, PlannedDiffusionConfig):
        read = loader.from_pretrained(tmp_path)
        assert type(read) is PlannedDiffusionConfig and type(read.backbone_config) is LlamaConfig
        for name in (
            *CONTROL_TOKEN_FIELDS,
            "digit_token_ids",
            "tokens_per_length_unit",
            "span_attention",
            "span_separator",
        ):
            assert getattr(read, name) == getattr(config, name), name
        assert read.tie_word_embeddings and read.backbone_config.tie_word_embeddings
        assert read.to_diff_dict() == config.to_diff_dict()
    stored = json.loads((tmp_path / "config.json").read_text())
    assert stored["model_type"] == "planned_diffusion" and stored["backbone_config"]["model_type"] == "llama"


def test_a_backbone_may_be_given_as_a_dict():
    config = PlannedDiffusionConfig({"model_type": "qwen3", "hidden_size": 32, "vocab_size": 50})
    assert type(config.backbone_config) is Qwen3Config
    assert (config.hidden_size, config.vocab_size) == (32, 50)
    assert config.get_text_config() is config.backbone_config
    config.vocab_size = 60
    assert config.backbone_config.vocab_size == 60


def test_an_empty_config_is_a_plain_qwen2():
    config = PlannedDiffusionConfig()
    assert config.backbone_config.model_type == "qwen2"
    assert all(getattr(config, name) is None for name in (*CONTROL_TOKEN_FIELDS, "digit_token_ids"))
    assert (config.tokens_per_length_unit, config.span_attention, config.span_separator) == (10, "sparse", "")


@pytest.mark.parametrize("own", [None, True, False])
@pytest.mark.parametrize("backbones", [True, False])
def test_tying_is_the_backbones_unless_said(own, backbones, build_config):
    config = build_config(tie=backbones, tie_word_embeddings=own)
    assert config.tie_word_embeddings == (backbones if own is None else own)
    model = PlannedDiffusionForCausalLM(config)
    assert (model.lm_head.weight is model.model.embed_tokens.weight) == config.tie_word_embeddings


@pytest.mark.parametrize(
    "fields, message",
    [
        ({"span_attention": "full"}, "span_attention is 'full'; choose one of sparse, dense"),
        ({"tokens_per_length_unit": 0}, "tokens_per_length_unit is 0; give the number of tokens, at least 1"),
        ({"digit_token_ids": [1, 2, 3]}, "digit_token_ids has 3 entries; list ten ids, of the digits 0 to 9 in order"),
    ],
)
def test_config_errors(fields, message):
    with pytest.raises(ValueError, match=message):
        PlannedDiffusionConfig(**fields)


# Code


def python_files(folder) -> set[str]:
    return {file.name for file in folder.glob("*.py")}


def test_a_model_is_saved_with_its_code_and_a_config_alone_without(build_model, tmp_path):
    model = build_model()
    model.config.save_pretrained(tmp_path / "config")
    assert not python_files(tmp_path / "config")
    assert "auto_map" not in json.loads((tmp_path / "config" / "config.json").read_text())
    model.save_pretrained(tmp_path / "model")
    assert python_files(tmp_path / "model") == set(flat_code())
    assert json.loads((tmp_path / "model" / "config.json").read_text())["auto_map"] == AUTO_MAP


def test_only_the_main_process_writes(build_model, tmp_path):
    build_model().save_pretrained(tmp_path, is_main_process=False)
    assert not python_files(tmp_path) and not (tmp_path / "config.json").exists()
